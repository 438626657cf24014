"""Readers of the layouts that a data set may come in, each giving the same rows.

    mldr      [mldr-v1.0-<language>/]{train,dev,test,corpus}.jsonl[.gz]
              {query_id, query, positive_passages: [{docid, text}], negative_passages: [...]}, {docid, text}
    beir      corpus.jsonl[.gz] {_id, title, text}, queries.jsonl[.gz] {_id, text}, qrels/{train,dev,test}.tsv
    triplets  {train,dev,test}.jsonl[.gz], {query, pos: [text], neg: [text]} (FlagEmbedding's format)
    pairs     {train,dev,test}.jsonl[.gz], {query, pos_doc: text}

A directory with a single file is a train split, whatever the file's name. A row that cannot be read goes to `BadRows`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from embedtune import files
from embedtune.corpus import SPLITS
from embedtune.errors import EmbedTuneError, Problems

FORMATS = ("mldr", "beir", "triplets", "pairs")
BEIR_SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "val"), "test": ("test",)}
ROW_KEYS = {"mldr": "positive_passages", "triplets": "pos", "pairs": "pos_doc"}  # what tells a format's rows apart


@dataclass(frozen=True)
class Passage:
    """A document as a row names it: by id, by text or by both. `where` and `raw`: its own line, if not the row's."""

    id: str | None
    text: str | None
    relevance: int
    where: str = ""
    raw: bytes = b""


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
    """One document of the corpus file."""

    where: str
    raw: bytes
    id: str
    text: str


@dataclass(frozen=True)
class Layout:
    """An opened data set: `splits` maps those present to their rows; both iterators can be started again."""

    corpus: Callable[[], Iterator[CorpusRow]]
    splits: dict[str, Callable[[], Iterator[Row]]]


class BadRows:
    """What becomes of rows that cannot be used: collected for one error, or set aside in a file and counted."""

    def __init__(self, set_aside: IO[bytes] | None) -> None:
        self.count = 0
        self._problems = Problems()
        self._set_aside = set_aside

    def refuse(self, where: str, reason: str, raw: bytes = b"") -> None:
        """Take out the row at `where`."""
        self.count += 1
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


class _UnusableError(Exception):
    """A row that does not have what it needs."""


def open_layout(root: Path, layout_format: str, language: str, bad_rows: BadRows) -> Layout:
    """Open the data set in the directory `root`. Raises EmbedTuneError when it is not in that layout."""
    if not root.is_dir():
        raise EmbedTuneError(f"{root}: no such directory; the download stage makes it")
    if layout_format == "beir":
        return _open_beir(root, bad_rows)
    folder = root / f"mldr-v1.0-{language}"
    folder = folder if layout_format == "mldr" and folder.is_dir() else root
    parse = {"mldr": _mldr_row, "triplets": _triplet_row, "pairs": _pair_row}[layout_format]
    paths = _split_paths(folder, layout_format)
    corpus = _find(folder, "corpus") if layout_format == "mldr" else None
    return Layout(
        corpus=lambda: _corpus_rows(corpus, "docid", bad_rows) if corpus else iter(()),
        splits={split: _reader(path, parse, layout_format, bad_rows) for split, path in paths.items()},
    )


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if path.is_file()), None)


def _split_paths(folder: Path, layout_format: str) -> dict[str, Path]:
    paths = {split: path for split in SPLITS if (path := _find(folder, split))}
    present = sorted(path for path in folder.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz")))
    if "train" not in paths and len(present) == 1:
        paths = {"train": present[0]}
    if "train" not in paths:
        raise EmbedTuneError(
            f"{folder}: no train.jsonl or train.jsonl.gz, which dataset.format: {layout_format} needs; "
            f"found {_listing(folder)}; {_other_layout(folder, layout_format)}"
            "check dataset.path, dataset.format and dataset.language"
        )
    return paths


def _other_layout(folder: Path, declared: str) -> str:
    found = ""
    if (folder / "qrels").is_dir() and _find(folder, "queries"):
        found = "beir"
    elif any(folder.glob("mldr-v1.0-*/")):
        found = "mldr"
    elif train := _find(folder, "train"):
        first = next((content for _, _, content in _json_rows(train, BadRows(None))), {})
        found = next((name for name, key in ROW_KEYS.items() if key in first), "")
    return f"it looks like dataset.format: {found}; " if found not in ("", declared) else ""


def _listing(folder: Path) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "nothing"


def _reader(
    path: Path, parse: Callable[[str, bytes, dict[str, Any]], Row], layout_format: str, bad_rows: BadRows
) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        for where, raw, content in _json_rows(path, bad_rows):
            try:
                yield parse(where, raw, content)
            except _UnusableError as error:
                bad_rows.refuse(where, f"{error}{_looks_like(content, layout_format)}", raw)

    return rows


def _json_rows(path: Path, bad_rows: BadRows) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
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


def _looks_like(content: dict[str, Any], layout_format: str) -> str:
    others = [name for name, key in ROW_KEYS.items() if key in content and name != layout_format]
    return f"; it looks like dataset.format: {others[0]}" if others and ROW_KEYS[layout_format] not in content else ""


def _text(content: dict[str, Any], key: str) -> str:
    value = content.get(key)
    if key not in content:
        raise _UnusableError(f"'{key}' is missing")
    if not isinstance(value, str):
        raise _UnusableError(f"'{key}' is not a text")
    if not value.strip():
        raise _UnusableError(f"'{key}' is empty")
    return value


def _id(content: dict[str, Any], key: str) -> str:
    value = content.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise _UnusableError(f"'{key}' is missing or not an id")
    if any(c.isspace() for c in value):
        raise _UnusableError(f"'{key}' {value!r} holds white space, which TREC files cannot carry; replace it")
    return value


def _texts(content: dict[str, Any], key: str, needed: bool) -> list[str]:
    value = content.get(key)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        if needed or values is not None:
            raise _UnusableError(f"'{key}' is missing or not a list of texts")
        return []
    if needed and not values:
        raise _UnusableError(f"'{key}' is empty; give at least one")
    if not all(isinstance(text, str) and text.strip() for text in values):
        raise _UnusableError(f"'{key}' holds an empty text or something other than a text")
    return values


def _mldr_row(where: str, raw: bytes, content: dict[str, Any]) -> Row:
    query_id, query = _id(content, "query_id"), _text(content, "query")
    passages = []
    for key, relevance in (("positive_passages", 1), ("negative_passages", 0)):
        named = content.get(key, None if relevance else [])
        if not isinstance(named, list) or not all(isinstance(passage, dict) for passage in named):
            raise _UnusableError(f"'{key}' is missing or not a list of {{docid, text}}")
        if relevance and not named:
            raise _UnusableError(f"'{key}' is empty; give at least one")
        for passage in named:
            text = passage.get("text")
            if text is not None:
                text = _text(passage, "text")
            passages.append(Passage(_id(passage, "docid"), text, relevance))
    return Row(where, raw, query_id, query, passages, _known_answers(content))


def _triplet_row(where: str, raw: bytes, content: dict[str, Any]) -> Row:
    positives = [Passage(None, text, 1) for text in _texts(content, "pos", needed=True)]
    negatives = [Passage(None, text, 0) for text in _texts(content, "neg", needed=False)]
    return Row(where, raw, None, _text(content, "query"), positives + negatives)


def _pair_row(where: str, raw: bytes, content: dict[str, Any]) -> Row:
    return Row(where, raw, None, _text(content, "query"), [Passage(None, _text(content, "pos_doc"), 1)])


def _corpus_rows(path: Path, id_key: str, bad_rows: BadRows) -> Iterator[CorpusRow]:
    for where, raw, content in _json_rows(path, bad_rows):
        try:
            text = _titled_text(content)
            yield CorpusRow(where, raw, _id(content, id_key), text)
        except _UnusableError as error:
            bad_rows.refuse(where, str(error), raw)


def _titled_text(content: dict[str, Any]) -> str:
    title, text = content.get("title"), content.get("text")
    if title is not None and not isinstance(title, str):
        raise _UnusableError("'title' is not a text")
    if not title or not title.strip():
        return _text(content, "text")
    if text is not None and not isinstance(text, str):
        raise _UnusableError("'text' is not a text")
    return f"{title} {text or ''}".rstrip()


def _known_answers(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the generated sample says that its answers stand; `answers` of other data sets mean something else."""
    answers = content.get("answers")
    shape = {"docid": str, "start": int, "end": int}
    if isinstance(answers, list) and all(
        isinstance(answer, dict) and all(isinstance(answer.get(key), kind) for key, kind in shape.items())
        for answer in answers
    ):
        return answers
    return []


def _open_beir(root: Path, bad_rows: BadRows) -> Layout:
    corpus, queries = _find(root, "corpus"), _find(root, "queries")
    qrels = {
        split: path
        for split, names in BEIR_SPLIT_NAMES.items()
        for name in names
        if (path := root / "qrels" / f"{name}.tsv").is_file()
    }
    if corpus is None or queries is None or "train" not in qrels:
        raise EmbedTuneError(
            f"{root}: dataset.format: beir needs corpus.jsonl, queries.jsonl (plain or .gz) and qrels/train.tsv; "
            f"found {_listing(root)}; {_other_layout(root, 'beir')}check dataset.path and dataset.format"
        )
    texts: dict[str, str] = {}
    for where, raw, content in _json_rows(queries, bad_rows):
        try:
            query_id = _id(content, "_id")
            if query_id in texts:
                raise _UnusableError(f"'_id' {query_id!r} stands twice; ids must be unique")
            texts[query_id] = _text(content, "text")
        except _UnusableError as error:
            bad_rows.refuse(where, str(error), raw)
    return Layout(
        corpus=lambda: _corpus_rows(corpus, "_id", bad_rows),
        splits={split: _qrels_reader(path, texts, queries, bad_rows) for split, path in qrels.items()},
    )


def _qrels_reader(path: Path, texts: dict[str, str], queries: Path, bad_rows: BadRows) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        judged: dict[str, Row] = {}
        for line_number, raw in files.read_lines(path):
            where = f"{path}:{line_number}"
            parts = raw.decode("utf-8", errors="replace").rstrip("\r\n").split("\t")
            if line_number == 1 and parts[-1] == "score":
                continue
            if len(parts) != 3 or not re.fullmatch(r"-?[0-9]+", parts[2]):
                bad_rows.refuse(where, "expected query-id, corpus-id and a whole score with tabs between", raw)
            elif parts[0] not in texts:
                bad_rows.refuse(where, f"names the query {parts[0]!r}, which {queries.name} lacks", raw)
            else:
                row = judged.setdefault(parts[0], Row(where, raw, parts[0], texts[parts[0]], []))
                row.passages.append(Passage(parts[1], None, int(parts[2]), where, raw))
        yield from judged.values()

    return rows
