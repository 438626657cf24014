"""The row types that all layouts yield, the validation of their fields, and the handling of invalid rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from embedtune.core import json_files
from embedtune.core.errors import Problems, shown

LARGEST_SCORE = 1_000_000  # of a teacher, either way; training computes with float32


@dataclass(frozen=True)
class Passage:
    """A judged document of a row, given by its id, its text or both. `relevance` is 0 for a negative.

    `where` and `raw` are the place and the bytes of the judgment's own line, where it has one (BEIR's qrels). `score`
    is a teacher's score, if the row has one.
    """

    id: str | None
    text: str | None
    relevance: int
    where: str = ""
    raw: bytes = b""
    score: float | None = None


@dataclass(frozen=True)
class Row:
    """One query of a split.

    `where` is its file and line, `raw` the bytes of that line. `id` is None if the layout has no ids. `answers` are the
    known positions of answers (see `Query` in data/corpus.py).
    """

    where: str
    raw: bytes
    id: str | None
    query: str
    passages: list[Passage]
    answers: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class CorpusRow:
    """One document of the corpus file. Its `text` begins with its `title`, if it has one."""

    where: str
    raw: bytes
    id: str
    text: str
    title: str = ""


@dataclass(frozen=True)
class Layout:
    """An opened data set: functions that iterate over the corpus, and over the rows of each split that is present.

    Each call starts a new iteration.
    """

    corpus: Callable[[], Iterator[CorpusRow]]
    splits: dict[str, Callable[[], Iterator[Row]]]


class BadRows:
    """Handles invalid rows: collects them for one error, or writes them to the file `set_aside` and counts them.

    The file gets one JSON line {where, reason, row} per invalid row. `renamed` is (folder, name): messages show `name`
    in place of `folder`, so that they point to the user's own file and not to a copy of it.
    """

    def __init__(self, set_aside: IO[bytes] | None, renamed: tuple[str, str] = ("", "")) -> None:
        self.count = 0
        self._renamed = renamed
        self._problems = Problems()
        self._set_aside = set_aside

    def refuse(self, where: str, reason: str, raw: bytes = b"") -> None:
        """Record the row at `where` as invalid; `raw` are the bytes of its line."""
        self.count += 1
        folder, name = self._renamed
        where = name + where.removeprefix(folder) if folder and where.startswith(folder + "/") else where
        self._problems.add(where, reason)
        if self._set_aside is not None:
            text = raw.decode("utf-8", errors="replace").rstrip("\n")
            self._set_aside.write(json_files.json_line({"where": where, "reason": reason, "row": text}))

    def text(self) -> str:
        """The invalid rows with their problems, one per line: the first twenty, then the number of the others."""
        return self._problems.text()

    def raise_if_fatal(self) -> None:
        """Raise EmbedTuneError listing the invalid rows, if there are any and they were not set aside."""
        if self._set_aside is None:
            self._problems.raise_if_any("mend these rows, or write `on_bad_row: skip` to set them aside")


class InvalidRowError(Exception):
    """A row is invalid; the text says why."""


def json_rows(path: Path, bad_rows: BadRows) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Yield ("file:line", bytes of the line, object) for each JSON object in the file. Other lines go to `bad_rows`."""
    for line_number, raw in json_files.read_lines(path):
        where = f"{path}:{line_number}"
        try:
            content = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            bad_rows.refuse(where, json_files.json_problem(raw, error), raw)
            continue
        if isinstance(content, dict):
            yield where, raw, content
        else:
            bad_rows.refuse(where, f"expected a JSON object, got {type(content).__name__}", raw)


def corpus_rows(path: Path, id_key: str, bad_rows: BadRows) -> Iterator[CorpusRow]:
    """Yield the documents of a corpus file, each title put before its text. Invalid rows go to `bad_rows`."""
    for where, raw, content in json_rows(path, bad_rows):
        try:
            title, text = _title_and_text(content)
            yield CorpusRow(where, raw, id_of(content, id_key), text, title)
        except InvalidRowError as error:
            bad_rows.refuse(where, str(error), raw)


def _title_and_text(content: dict[str, Any]) -> tuple[str, str]:
    title, text = content.get("title"), content.get("text")
    if title is not None and not isinstance(title, str):
        raise InvalidRowError("'title' is not a text")
    if not title or not title.strip():
        return "", text_of(content, "text")
    if text is not None and not isinstance(text, str):
        raise InvalidRowError("'text' is not a text")
    return title, f"{title} {text or ''}".rstrip()


def text_of(content: dict[str, Any], key: str) -> str:
    """The text under `key`. Raises UnusableError when it is missing, blank or not a string."""
    value = content.get(key)
    if key not in content:
        raise InvalidRowError(f"'{key}' is missing")
    if not isinstance(value, str):
        raise InvalidRowError(f"'{key}' is not a text")
    if not value.strip():
        raise InvalidRowError(f"'{key}' is empty")
    return value


def id_of(content: dict[str, Any], key: str) -> str:
    """The id under `key`; an integer becomes a string. Raises UnusableError when it is missing or has white space."""
    value = content.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise InvalidRowError(f"'{key}' is missing or not an id")
    if any(c.isspace() for c in value):
        raise InvalidRowError(f"'{key}' {shown(value)} holds white space, which TREC files cannot carry; replace it")
    if any(ord(c) < 32 or ord(c) == 127 for c in value):  # trec_eval ends an id at a zero byte
        raise InvalidRowError(f"'{key}' {shown(value)} holds a control character; replace it")
    return value


def scores_of(content: dict[str, Any], key: str, count: int) -> list[float] | list[None]:
    """The `count` numbers under `key`, or `count` Nones if it is missing. Raises UnusableError for anything else."""
    values = content.get(key)
    if values is None:
        return [None] * count
    if not isinstance(values, list) or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        raise InvalidRowError(f"'{key}' is not a list of numbers")
    if len(values) != count:
        raise InvalidRowError(f"'{key}' has {len(values)} scores for {count} texts")
    if not all(abs(value) <= LARGEST_SCORE for value in values):
        raise InvalidRowError(f"'{key}' holds a number beyond {LARGEST_SCORE}")
    return [float(value) for value in values]


def texts_of(content: dict[str, Any], key: str, needed: bool) -> list[str]:
    """The list of texts under `key`. A single text becomes a list of one.

    If the key is missing, the list is empty. Raises UnusableError if it is missing or empty though `needed`, and for
    anything but non-blank texts.
    """
    value = content.get(key)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        if needed or values is not None:
            raise InvalidRowError(f"'{key}' is missing or not a list of texts")
        return []
    if needed and not values:
        raise InvalidRowError(f"'{key}' is empty; give at least one")
    if not all(isinstance(text, str) and text.strip() for text in values):
        raise InvalidRowError(f"'{key}' holds an empty text or something other than a text")
    return values
