"""Layouts with one row per query: MLDR's, FlagEmbedding's triplets, and pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embedtune.core.errors import EmbedTuneError
from embedtune.data.corpus import SPLITS
from embedtune.data.layouts.folders import ROW_KEYS, find, listing, other_layout, unread_files
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
    title_and_text,
)

KEYS = {  # that are read, of a row and of a passage
    "mldr": frozenset(("query_id", "query", "positive_passages", "negative_passages", "answers")),
    "triplets": frozenset(("query", "pos", "neg", "pos_scores", "neg_scores")),
    "pairs": frozenset(("query", "pos_doc")),
}
PASSAGE_KEYS = frozenset(("docid", "title", "text"))
OTHER_NAMES = {  # of keys, in other tools' data
    "query": ("anchor", "question", "sentence1"),
    "positive": ("positive", "positives", "answer", "passage", "document", "context", "sentence2"),
    "negative": ("negative", "negatives"),
}
KEY_OF = {
    "mldr": dict[str, str](),
    "triplets": {"query": "query", "positive": "pos", "negative": "neg"},
    "pairs": {"query": "query", "positive": "pos_doc"},
}


def open_jsonl(root: Path, layout_format: str, language: str, bad_rows: BadRows) -> Layout:
    """Open `{train,dev,test,corpus}.jsonl[.gz]` of mldr, triplets or pairs. Raises EmbedTuneError without train.

    The corpus may be missing. Rows of mldr name its documents by their ids, those of triplets and pairs by their texts.
    """
    folder = root / f"mldr-v1.0-{language}"
    folder = folder if layout_format == "mldr" and folder.is_dir() else root
    parse = {"mldr": _mldr_row, "triplets": _triplet_row, "pairs": _pair_row}[layout_format]
    corpus = find(folder, "corpus")
    paths = _split_paths(folder, layout_format, corpus)
    id_keys, by_text = (("docid",), False) if layout_format == "mldr" else (("docid", "_id"), True)
    return Layout(
        corpus=lambda: corpus_rows(corpus, id_keys, bad_rows, by_text) if corpus else iter(()),
        splits={split: _reader(path, parse, layout_format, bad_rows) for split, path in paths.items()},
        unread=unread_files(folder, [*paths.values(), *([corpus] if corpus else [])]),
    )


def _split_paths(folder: Path, layout_format: str, corpus: Path | None) -> dict[str, Path]:
    paths = {split: path for split in SPLITS if (path := find(folder, split))}
    present = sorted(path for path in folder.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz")))
    present = [path for path in present if path != corpus]
    if "train" not in paths and len(present) == 1 and not (folder / "qrels").is_dir():
        paths = {"train": present[0]}
    if "train" not in paths:
        raise EmbedTuneError(
            f"{folder}: no train.jsonl or train.jsonl.gz, which `format: {layout_format}` needs; "
            f"found {listing(folder)}; {other_layout(folder, layout_format)}{_advice(folder, len(present))}"
            "check `path`, `format` and `language`"
        )
    return paths


def _advice(folder: Path, jsonl_files: int) -> str:
    """A part of an error message: how files under other names become a train split; "" if there are none."""
    if jsonl_files > 1:
        return "join the files that are to be trained on in a train.jsonl; "
    if any(folder.glob("*.json")):
        return "a .json file of one object a line is to be called .jsonl, and an array to be written so; "
    return ""


def _reader(
    path: Path, parse: Callable[[str, bytes, dict[str, Any]], Row], layout_format: str, bad_rows: BadRows
) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        for where, raw, content in json_rows(path, bad_rows):
            try:
                yield parse(where, raw, content)
            except InvalidRowError as error:
                advice = _looks_like(content, layout_format) or _renaming(content, layout_format)
                bad_rows.refuse(where, f"{error}{advice}", raw, once=error.common or bool(advice))
                continue
            bad_rows.count_unread(content, KEYS[layout_format])
            for key in ("positive_passages", "negative_passages") if layout_format == "mldr" else ():
                for passage in content.get(key) or ():
                    bad_rows.count_unread(passage, PASSAGE_KEYS, f"{key}: ")

    return rows


def _looks_like(content: dict[str, Any], layout_format: str) -> str:
    others = [name for name, key in ROW_KEYS.items() if key in content and name != layout_format]
    return f"; it looks like `format: {others[0]}`" if others and ROW_KEYS[layout_format] not in content else ""


def _renaming(content: dict[str, Any], layout_format: str) -> str:
    """A part of an error message: which keys of a row are to be renamed; "" if none has another tool's name."""
    renamed = [
        f"{other} to {key}"
        for role, key in KEY_OF[layout_format].items()
        for other in OTHER_NAMES[role]
        if other in content and key not in content
    ]
    return f"; rename the keys of all rows: {', '.join(renamed)}" if renamed else ""


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
            title, text = ("", None) if passage.get("text") is None else title_and_text(passage)
            passages.append(Passage(id_of(passage, "docid"), text, relevance, title=title))
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
