"""Rows as every layout gives them, the checks of their fields, and what becomes of those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from embedtune import files
from embedtune.errors import Problems


@dataclass(frozen=True)
class Passage:
    """A document as a row names it: by id, by text or by both. `where` and `raw`: its own line, if not the row's.

    `score` is a teacher's, if the row has one.
    """

    id: str | None
    text: str | None
    relevance: int
    where: str = ""
    raw: bytes = b""
    score: float | None = None


@dataclass(frozen=True)
class Row:
    """One question of a split. `where` is its file and line; `id` is None where the layout has no ids."""

    where: str
    raw: bytes
    id: str | None
    query: str
    passages: list[Passage]
    answers: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class CorpusRow:
    """One document of the corpus file; its `text` begins with its `title`, if it has one."""

    where: str
    raw: bytes
    id: str
    text: str
    title: str = ""


@dataclass(frozen=True)
class Layout:
    """An opened data set: `splits` maps those present to their rows; both iterators can be started again."""

    corpus: Callable[[], Iterator[CorpusRow]]
    splits: dict[str, Callable[[], Iterator[Row]]]


class BadRows:
    """What becomes of rows that cannot be used: collected for one error, or set aside in a file and counted.

    `renamed` is (folder, name): rows of files in `folder` are said to stand under `name`, where the user can mend them.
    """

    def __init__(self, set_aside: IO[bytes] | None, renamed: tuple[str, str] = ("", "")) -> None:
        self.count = 0
        self._renamed = renamed
        self._problems = Problems()
        self._set_aside = set_aside

    def refuse(self, where: str, reason: str, raw: bytes = b"") -> None:
        """Take out the row at `where`."""
        self.count += 1
        folder, name = self._renamed
        where = name + where.removeprefix(folder) if folder and where.startswith(folder + "/") else where
        self._problems.add(where, reason)
        if self._set_aside is not None:
            text = raw.decode("utf-8", errors="replace").rstrip("\n")
            self._set_aside.write(files.json_line({"where": where, "reason": reason, "row": text}))

    def text(self) -> str:
        """The rows and what is wrong with each, the first twenty of them."""
        return self._problems.text()

    def raise_if_fatal(self) -> None:
        """Raise EmbedTuneError listing the rows, unless they were set aside."""
        if self._set_aside is None:
            self._problems.raise_if_any("mend these rows, or write `dataset.on_bad_row: skip` to set them aside")


class UnusableError(Exception):
    """A row that does not have what it needs."""


def json_rows(path: Path, bad_rows: BadRows) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """(file and line, line, object) of each JSON object in the file; other lines go to `bad_rows`."""
    for line_number, raw in files.read_lines(path):
        where = f"{path}:{line_number}"
        try:
            content = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            bad_rows.refuse(where, files.json_problem(raw, error), raw)
            continue
        if isinstance(content, dict):
            yield where, raw, content
        else:
            bad_rows.refuse(where, f"expected a JSON object, got {type(content).__name__}", raw)


def corpus_rows(path: Path, id_key: str, bad_rows: BadRows) -> Iterator[CorpusRow]:
    """The documents of a corpus file; a title stands before its text. Unusable ones go to `bad_rows`."""
    for where, raw, content in json_rows(path, bad_rows):
        try:
            title, text = _title_and_text(content)
            yield CorpusRow(where, raw, id_of(content, id_key), text, title)
        except UnusableError as error:
            bad_rows.refuse(where, str(error), raw)


def _title_and_text(content: dict[str, Any]) -> tuple[str, str]:
    title, text = content.get("title"), content.get("text")
    if title is not None and not isinstance(title, str):
        raise UnusableError("'title' is not a text")
    if not title or not title.strip():
        return "", text_of(content, "text")
    if text is not None and not isinstance(text, str):
        raise UnusableError("'text' is not a text")
    return title, f"{title} {text or ''}".rstrip()


def text_of(content: dict[str, Any], key: str) -> str:
    """The text under `key`. Raises UnusableError when it is missing, empty or no text."""
    value = content.get(key)
    if key not in content:
        raise UnusableError(f"'{key}' is missing")
    if not isinstance(value, str):
        raise UnusableError(f"'{key}' is not a text")
    if not value.strip():
        raise UnusableError(f"'{key}' is empty")
    return value


def id_of(content: dict[str, Any], key: str) -> str:
    """The id under `key`, a whole number as text. Raises UnusableError when it is missing or holds white space."""
    value = content.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise UnusableError(f"'{key}' is missing or not an id")
    if any(c.isspace() for c in value):
        raise UnusableError(f"'{key}' {value!r} holds white space, which TREC files cannot carry; replace it")
    return value


def scores_of(content: dict[str, Any], key: str, count: int) -> list[float] | list[None]:
    """The `count` numbers under `key`, or as many None where it is missing. Raises UnusableError for anything else."""
    values = content.get(key)
    if values is None:
        return [None] * count
    if not isinstance(values, list) or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        raise UnusableError(f"'{key}' is not a list of numbers")
    if len(values) != count:
        raise UnusableError(f"'{key}' has {len(values)} scores for {count} texts")
    return [float(value) for value in values]


def texts_of(content: dict[str, Any], key: str, needed: bool) -> list[str]:
    """The list of texts under `key`, or a single text as one. Raises UnusableError for anything else."""
    value = content.get(key)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        if needed or values is not None:
            raise UnusableError(f"'{key}' is missing or not a list of texts")
        return []
    if needed and not values:
        raise UnusableError(f"'{key}' is empty; give at least one")
    if not all(isinstance(text, str) and text.strip() for text in values):
        raise UnusableError(f"'{key}' holds an empty text or something other than a text")
    return values
