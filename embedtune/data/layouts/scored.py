"""Scored pairs: rows of a query, a document, and how relevant it is (`rel`, 0 to 1), in JSON, JSON Lines or CSV.

A row is {key, query, doc, rel, weight}. `key` names the row and may be absent. `weight`, above 0, says how much the row
counts in training; absent, it is 1. A file is read twice: first all rows are checked and pairs that stand more than
once are joined, then rows are yielded. Memory holds a hash and two numbers of each pair, and the whole of a JSON array.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError, shown
from embedtune.data.layouts.folders import ROW_KEYS, listing, other_layout, unread_files
from embedtune.data.layouts.rows import BadRows, InvalidRowError, Layout, Passage, Row, json_rows, text_of

SPLIT_FILES = {  # the names that a split's file may have, less its ending
    "train": ("train", "train_data"),
    "dev": ("dev", "val", "validation", "dev_data", "val_data"),
    "test": ("test", "test_data"),
}
ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".csv")
KEYS = frozenset(("key", "query", "doc", "rel", "weight"))
LARGEST_WEIGHT = 1_000_000.0
OTHER_SEPARATORS = (";", "\t", "|")  # that spreadsheets write
LONGEST_FIELD = 2**31 - 1  # characters; csv's own limit is 131,072

Content = tuple[str, bytes, dict[str, Any]]  # "file:line" or "file: row n", the row's bytes, the row


def open_scored(root: Path, bad_rows: BadRows, repeated: str = "fail") -> Layout:
    """Open the files of scored pairs in the directory `root`: train, dev and test, or a single one.

    `repeated` says what becomes of a query and a document that stand together more than once with different `rel` or
    `weight`: fail (all but the first are bad rows), mean or last. Raises EmbedTuneError where there is no such file, or
    two for one split.
    """
    paths = _split_paths(root)
    return Layout(
        corpus=lambda: iter(()),
        splits={split: functools.partial(_rows, path, bad_rows, repeated) for split, path in paths.items()},
        unread=unread_files(root, list(paths.values())),
        scored=True,
    )


def _split_paths(root: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for split, names in SPLIT_FILES.items():
        found = [path for name in names for ending in ENDINGS if (path := root / f"{name}{ending}").is_file()]
        if len(found) > 1:
            raise EmbedTuneError(f"{found[0]} and {found[1].name} are both the {split} split; leave one of them")
        if found:
            paths[split] = found[0]
    if not paths:
        single = [path for path in sorted(root.iterdir()) if path.name.endswith(ENDINGS)]
        if len(single) == 1:
            return {"train": single[0]}
    if "train" not in paths:
        raise EmbedTuneError(
            f"{root}: no train.jsonl, train.json, train.csv or train_data.json, which `format: scored` needs; found "
            f"{listing(root)}; {other_layout(root, 'scored')}check `path` and `format`"
        )
    return paths


@dataclass
class _Pair:
    """A query and a document: the sum and the number of its `rel` and `weight`, and where it stood first."""

    rel: float
    weight: float
    where: str
    rows: int = 1


@dataclass
class _Checked:
    """What is known of a file: where each key stood, and its pairs."""

    bad_rows: BadRows
    repeated: str
    keys: dict[str, str] = field(default_factory=dict)
    pairs: dict[bytes, _Pair] = field(default_factory=dict)

    def take(self, where: str, raw: bytes, content: dict[str, Any]) -> None:
        """Check a row and join it with those of the same query and document."""
        try:
            key, pair, rel, weight = _parsed(content)
        except InvalidRowError as error:
            other = next((name for name, key in ROW_KEYS.items() if key in content and "doc" not in content), "")
            advice = f"; it looks like `format: {other}`" if other and other != "scored" else ""
            self.bad_rows.refuse(where, f"{error}{advice}", raw, once=error.common or bool(advice))
            return
        self.bad_rows.count_unread(content, KEYS)
        if key is not None and key in self.keys:
            self.bad_rows.refuse(where, f"'key' {shown(key)} stands twice, first in {self.keys[key]}", raw)
            return
        if key is not None:
            self.keys[key] = where
        known = self.pairs.get(pair)
        if known is None:
            self.pairs[pair] = _Pair(rel, weight, where)
        elif self.repeated == "mean":
            known.rel, known.weight, known.rows = known.rel + rel, known.weight + weight, known.rows + 1
        elif self.repeated == "last":
            known.rel, known.weight = rel, weight
        elif (rel, weight) != (known.rel, known.weight):
            self.bad_rows.refuse(
                where,
                f"its query and document stand together in {known.where} too, there with rel {known.rel:g} and weight "
                f"{known.weight:g}, here with {rel:g} and {weight:g}; correct one of them, or write `repeated: mean` "
                "or `last`",
                raw,
            )


def _rows(path: Path, bad_rows: BadRows, repeated: str) -> Iterator[Row]:
    checked = _Checked(bad_rows, repeated)
    for where, raw, content in _contents(path, bad_rows):
        checked.take(where, raw, content)
    pairs = checked.pairs
    for where, raw, content in _contents(path, BadRows(None)):  # its bad rows were told above
        try:
            _, pair, _, _ = _parsed(content)
        except InvalidRowError:
            continue
        found = pairs.pop(pair, None)  # one row for each pair: that of its first place
        if found is not None:
            rel, weight = found.rel / found.rows, found.weight / found.rows
            yield Row(where, raw, None, content["query"].strip(), [Passage(None, content["doc"], rel, weight=weight)])


def _parsed(content: dict[str, Any]) -> tuple[str | None, bytes, float, float]:
    """(key, hash of query and document, rel, weight) of a row. Raises InvalidRowError."""
    query, document = text_of(content, "query"), text_of(content, "doc")
    rel = _number(content, "rel")
    if not 0 <= rel <= 1:
        raise InvalidRowError(f"'rel' is {rel!r}; expected a number from 0 to 1")
    weight = 1.0 if content.get("weight") is None else _number(content, "weight")
    if not 0 < weight <= LARGEST_WEIGHT:
        raise InvalidRowError(f"'weight' is {weight!r}; expected a number above 0, at most {LARGEST_WEIGHT:.0f}")
    key = content.get("key")
    if key is not None and (isinstance(key, bool) or not isinstance(key, (str, int)) or key == ""):
        raise InvalidRowError("'key' is empty, or neither a text nor a whole number")
    texts = (query.strip() + "\0" + document.strip()).encode()
    return None if key is None else str(key), hashlib.blake2b(texts, digest_size=16).digest(), rel, weight


def _number(content: dict[str, Any], key: str) -> float:
    value = content.get(key)
    if key not in content or value is None:
        raise InvalidRowError(f"'{key}' is missing")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRowError(f"'{key}' is {shown(value)}; expected a number such as 0.5, without quotes")
    if not math.isfinite(value):
        raise InvalidRowError(f"'{key}' is not finite")
    return float(value)


def _contents(path: Path, bad_rows: BadRows) -> Iterator[Content]:
    """The rows of a file of any ending; what is no row goes to `bad_rows`."""
    if path.suffix == ".csv":
        return _csv_rows(path, bad_rows)
    read: Callable[[Path, BadRows], Iterator[Content]] = _array_rows if _is_array(path) else json_rows
    return read(path, bad_rows)


def _is_array(path: Path) -> bool:
    """Whether a .json file holds an array, and not an object a line; in .jsonl an array is one bad row."""
    return path.suffix == ".json" and next(
        (line.lstrip()[:1] == b"[" for _, line in json_files.read_lines(path)), False
    )


def _array_rows(path: Path, bad_rows: BadRows) -> Iterator[Content]:
    whole = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        rows = orjson.loads(whole)
    except orjson.JSONDecodeError as error:  # nothing can be set aside: where one row ends is not known
        raise EmbedTuneError(f"{path}:{error.lineno}: {json_files.json_problem(whole, error)}") from error
    for number, content in enumerate(rows, start=1):
        where, raw = f"{path}: row {number}", orjson.dumps(content)
        if isinstance(content, dict):
            yield where, raw, content
        else:
            bad_rows.refuse(where, f"expected a JSON object, got {type(content).__name__}", raw)


def _csv_rows(path: Path, bad_rows: BadRows) -> Iterator[Content]:
    """The rows of a CSV file with a header; `rel` and `weight` become numbers, and empty fields are absent."""
    csv.field_size_limit(LONGEST_FIELD)
    with path.open("rb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            missing = [key for key in ("query", "doc", "rel") if key not in header]
            if missing:
                other = next((mark for mark in OTHER_SEPARATORS if len(header) == 1 and mark in header[0]), "")
                advice = f"; columns are separated by {other!r}: save the file with commas" if other else ""
                lacking, found = " and no ".join(missing), ", ".join(header)[:200]
                raise EmbedTuneError(f"{path}:1: the header has no column {lacking}, but {found}{advice}")
            line = reader.line_num + 1
            for fields in reader:
                where, line = f"{path}:{line}", reader.line_num + 1
                if not any(fields):
                    continue
                raw = orjson.dumps(fields)
                if len(fields) != len(header):
                    bad_rows.refuse(where, f"has {len(fields)} fields, the header {len(header)}", raw)
                    continue
                yield where, raw, _typed({key: value for key, value in zip(header, fields, strict=True) if value != ""})
        except UnicodeDecodeError as error:
            raise EmbedTuneError(f"{path}: not UTF-8 text; save the file as UTF-8") from error
        except csv.Error as error:  # nothing can be set aside: where the next row begins is not known
            raise EmbedTuneError(f"{path}:{reader.line_num}: not valid CSV ({error}); mend this row") from error


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    for key in ("rel", "weight"):
        try:
            fields[key] = float(fields[key])
        except (KeyError, ValueError):  # a missing one and one that is no number are told as of any row
            continue
    return fields
