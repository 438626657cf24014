"""The row types that all layouts yield, the validation of their fields, and the handling of invalid rows."""

from __future__ import annotations

from collections import Counter
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

    Its `text` begins with its `title`, if it has one. `where` and `raw` are the place and the bytes of the judgment's
    own line, where it has one (BEIR's qrels). `score` is a teacher's score, if the row has one. `weight` is how much
    the judgment counts in training.
    """

    id: str | None
    text: str | None
    relevance: float
    where: str = ""
    raw: bytes = b""
    score: float | None = None
    title: str = ""
    weight: float = 1.0


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
    """One document of the corpus file. Its `text` begins with its `title`, if it has one.

    `id` is None where the layout knows documents by their text, and the row has none.
    """

    where: str
    raw: bytes
    id: str | None
    text: str
    title: str = ""


@dataclass(frozen=True)
class Layout:
    """An opened data set: functions that iterate over the corpus, and over the rows of each split that is present.

    Each call starts a new iteration. `unread` are the names of data files beside them that are not read. `scored`: a
    row has one judged document, relevant or not, and a query has several rows.
    """

    corpus: Callable[[], Iterator[CorpusRow]]
    splits: dict[str, Callable[[], Iterator[Row]]]
    unread: list[str] = field(default_factory=list)
    scored: bool = False


class BadRows:
    """Handles invalid rows: collects them for one error, or writes them to the file `set_aside` and counts them.

    The file gets one JSON line {where, reason, row} per invalid row. `renamed` is (folder, name): messages show `name`
    in place of `folder`, so that they point to the user's own file and not to a copy of it. `unread_keys` counts the
    valid rows that have a key which is not read, by that key.
    """

    def __init__(self, set_aside: IO[bytes] | None, renamed: tuple[str, str] = ("", "")) -> None:
        self.count = 0
        self.unread_keys: Counter[str] = Counter()
        self._renamed = renamed
        self._problems = Problems()
        self._said: set[tuple[str, str]] = set()
        self._set_aside = set_aside

    def refuse(self, where: str, reason: str, raw: bytes = b"", once: bool = False) -> None:
        """Record the row at `where` (file:line) as invalid; `raw` are the bytes of its line.

        With `once`, the rows of a file that are refused for the same reason are shown by their first, and counted.
        """
        self.count += 1
        folder, name = self._renamed
        where = name + where.removeprefix(folder) if folder and where.startswith(folder + "/") else where
        said = (where.rpartition(":")[0], reason)
        self._problems.add(where, reason, shown=not (once and said in self._said))
        self._said.add(said)
        if self._set_aside is not None:
            text = raw.decode("utf-8", errors="replace").rstrip("\n")
            self._set_aside.write(json_files.json_line({"where": where, "reason": reason, "row": text}))

    def count_unread(self, content: dict[str, Any], read: frozenset[str], of: str = "") -> None:
        """Count the keys of a row that are not in `read` and not empty, under `of` + key."""
        for key in content.keys() - read:
            if content[key] not in (None, "", [], {}):
                self.unread_keys[of + key] += 1

    def text(self) -> str:
        """The invalid rows with their problems, one per line: the first twenty, then the number of the others."""
        return self._problems.text()

    def raise_if_fatal(self) -> None:
        """Raise EmbedTuneError listing the invalid rows, if there are any and they were not set aside."""
        if self._set_aside is None:
            self._problems.raise_if_any("mend these rows, or write `on_bad_row: skip` to set them aside")


class InvalidRowError(Exception):
    """A row is invalid; the text says why. `common`: all rows of its file are likely to be, for the same reason."""

    def __init__(self, reason: str, common: bool = False) -> None:
        super().__init__(reason)
        self.common = common


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


CORPUS_KEYS = frozenset(("docid", "_id", "title", "text", "metadata"))  # metadata: BEIR's place for anything else


def corpus_rows(path: Path, id_keys: tuple[str, ...], bad_rows: BadRows, by_text: bool = False) -> Iterator[CorpusRow]:
    """Yield the documents of a corpus file, each title put before its text. Invalid rows go to `bad_rows`.

    The id stands under the first of `id_keys` that a row has. With `by_text`, it may lack them all.
    """
    for where, raw, content in json_rows(path, bad_rows):
        try:
            title, text = title_and_text(content)
            key = next((key for key in id_keys if key in content), None if by_text else id_keys[0])
            yield CorpusRow(where, raw, None if key is None else id_of(content, key), text, title)
            bad_rows.count_unread(content, CORPUS_KEYS, "corpus: ")
        except InvalidRowError as error:
            bad_rows.refuse(where, str(error), raw)


def title_and_text(content: dict[str, Any]) -> tuple[str, str]:
    """The title, or "", and the text with the title before it. Raises InvalidRowError where one is no text."""
    title, text = content.get("title"), content.get("text")
    if title is not None and not isinstance(title, str):
        raise InvalidRowError("'title' is not a text")
    if not title or not title.strip():
        return "", text_of(content, "text")
    if text is not None and not isinstance(text, str):
        raise InvalidRowError("'text' is not a text")
    return title, f"{title} {text or ''}".rstrip()


def text_of(content: dict[str, Any], key: str) -> str:
    """The text under `key`. Raises InvalidRowError when it is missing, blank or not a string."""
    value = content.get(key)
    if key not in content:
        raise InvalidRowError(f"'{key}' is missing")
    if not isinstance(value, str):
        raise InvalidRowError(f"'{key}' is not a text")
    if not value.strip():
        raise InvalidRowError(f"'{key}' is empty")
    return value


def id_of(content: dict[str, Any], key: str) -> str:
    """The id under `key`; an integer becomes a string. Raises InvalidRowError when it is missing or has white space."""
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
    """The `count` numbers under `key`, or `count` Nones if it is missing. Raises InvalidRowError for anything else."""
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

    If the key is missing, the list is empty. Raises InvalidRowError if it is missing or empty though `needed`, and for
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
    if any(isinstance(text, list) for text in values):
        raise InvalidRowError(f"'{key}' holds lists; give texts alone, without instructions", common=True)
    if not all(isinstance(text, str) and text.strip() for text in values):
        raise InvalidRowError(f"'{key}' holds an empty text or something other than a text")
    return values
