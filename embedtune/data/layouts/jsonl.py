"""Layouts with one row per query: MLDR's, FlagEmbedding's triplets, and pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embedtune.core.errors import EmbedTuneError
from embedtune.data.corpus import SPLITS
from embedtune.data.layouts.folders import ROW_KEYS, find, listing, other_layout
from embedtune.data.layouts.rows import (
    BadRows,
    InvalidRowError,
    Layout,
    Passage,
    Row,
    corpus_rows,
    id_of,
    json_rows,
    scores_of,
    text_of,
    texts_of,
)


def open_jsonl(root: Path, layout_format: str, language: str, bad_rows: BadRows) -> Layout:
    """Open `{train,dev,test}.jsonl[.gz]` of mldr, triplets or pairs. Raises EmbedTuneError without a train split."""
    folder = root / f"mldr-v1.0-{language}"
    folder = folder if layout_format == "mldr" and folder.is_dir() else root
    parse = {"mldr": _mldr_row, "triplets": _triplet_row, "pairs": _pair_row}[layout_format]
    paths = _split_paths(folder, layout_format)
    corpus = find(folder, "corpus") if layout_format == "mldr" else None
    return Layout(
        corpus=lambda: corpus_rows(corpus, "docid", bad_rows) if corpus else iter(()),
        splits={split: _reader(path, parse, layout_format, bad_rows) for split, path in paths.items()},
    )


def _split_paths(folder: Path, layout_format: str) -> dict[str, Path]:
    paths = {split: path for split in SPLITS if (path := find(folder, split))}
    present = sorted(path for path in folder.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz")))
    if "train" not in paths and len(present) == 1:
        paths = {"train": present[0]}
    if "train" not in paths:
        raise EmbedTuneError(
            f"{folder}: no train.jsonl or train.jsonl.gz, which `format: {layout_format}` needs; "
            f"found {listing(folder)}; {other_layout(folder, layout_format)}"
            "check `path`, `format` and `language`"
        )
    return paths


def _reader(
    path: Path, parse: Callable[[str, bytes, dict[str, Any]], Row], layout_format: str, bad_rows: BadRows
) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        for where, raw, content in json_rows(path, bad_rows):
            try:
                yield parse(where, raw, content)
            except InvalidRowError as error:
                bad_rows.refuse(where, f"{error}{_looks_like(content, layout_format)}", raw)

    return rows


def _looks_like(content: dict[str, Any], layout_format: str) -> str:
    others = [name for name, key in ROW_KEYS.items() if key in content and name != layout_format]
    return f"; it looks like `format: {others[0]}`" if others and ROW_KEYS[layout_format] not in content else ""


def _mldr_row(where: str, raw: bytes, content: dict[str, Any]) -> Row:
    query_id, query = id_of(content, "query_id"), text_of(content, "query")
    passages = []
    for key, relevance in (("positive_passages", 1), ("negative_passages", 0)):
        named = content.get(key, None if relevance else [])
        if not isinstance(named, list) or not all(isinstance(passage, dict) for passage in named):
            raise InvalidRowError(f"'{key}' is missing or not a list of {{docid, text}}")
        if relevance and not named:
            raise InvalidRowError(f"'{key}' is empty; give at least one")
        for passage in named:
            text = passage.get("text")
            if text is not None:
                text = text_of(passage, "text")
            passages.append(Passage(id_of(passage, "docid"), text, relevance))
    return Row(where, raw, query_id, query, passages, _known_answers(content))


def _triplet_row(where: str, raw: bytes, content: dict[str, Any]) -> Row:
    passages = []
    for key, relevance in (("pos", 1), ("neg", 0)):
        texts = texts_of(content, key, needed=relevance > 0)
        scores = scores_of(content, f"{key}_scores", len(texts))
        passages += [Passage(None, t, relevance, score=s) for t, s in zip(texts, scores, strict=True)]
    return Row(where, raw, None, text_of(content, "query"), passages)


def _pair_row(where: str, raw: bytes, content: dict[str, Any]) -> Row:
    return Row(where, raw, None, text_of(content, "query"), [Passage(None, text_of(content, "pos_doc"), 1)])


def _known_answers(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The answer positions in a row of the generated sample. Another data set's `answers` are ignored."""
    answers = content.get("answers")
    shape = {"docid": str, "start": int, "end": int}
    if isinstance(answers, list) and all(
        isinstance(answer, dict) and all(isinstance(answer.get(key), kind) for key, kind in shape.items())
        for answer in answers
    ):
        return answers
    return []
