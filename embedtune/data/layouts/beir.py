"""BEIR's layout: a corpus, queries, and relevance judgments in qrels/<split>.tsv."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError
from embedtune.data.layouts.folders import find, listing, other_layout, unread_files
from embedtune.data.layouts.rows import (
    BadRows,
    InvalidRowError,
    Layout,
    Passage,
    Row,
    corpus_rows,
    id_of,
    json_rows,
    text_of,
)

LARGEST_JUDGMENT = 1000  # of a relevance: trec_eval, which measures, takes memory in proportion to the largest
BEIR_SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "val"), "test": ("test",)}
QUERY_KEYS = frozenset(("_id", "text", "metadata"))


def open_beir(
    root: Path,
    bad_rows: BadRows,
    needed: tuple[str, ...] = ("train",),
    asked_by: str = "`format: beir`",
    advice: str = "check `path` and `format`",
) -> Layout:
    """Open a directory in BEIR's layout.

    Raises EmbedTuneError when the corpus or the queries are missing, or when no split in `needed` has qrels. The error
    names `asked_by` as the parameter that requires these files, and ends in `advice`.
    """
    corpus, queries = find(root, "corpus"), find(root, "queries")
    qrels = {
        split: path
        for split, names in BEIR_SPLIT_NAMES.items()
        for name in names
        if (path := root / "qrels" / f"{name}.tsv").is_file()
    }
    if corpus is None or queries is None or not any(split in qrels for split in needed):
        wanted = " or ".join(f"{split}.tsv" for split in needed)
        raise EmbedTuneError(
            f"{root}: {asked_by} needs corpus.jsonl, queries.jsonl (plain or .gz) and qrels/{wanted}; "
            f"found {_found(root)}; {other_layout(root, 'beir')}{advice}"
        )
    texts: dict[str, str] = {}
    for where, raw, content in json_rows(queries, bad_rows):
        try:
            query_id = id_of(content, "_id")
            if query_id in texts:
                raise InvalidRowError(f"'_id' {query_id!r} stands twice; ids must be unique")
            texts[query_id] = text_of(content, "text")
            bad_rows.count_unread(content, QUERY_KEYS)
        except InvalidRowError as error:
            bad_rows.refuse(where, str(error), raw)
    return Layout(
        corpus=lambda: corpus_rows(corpus, ("_id",), bad_rows),
        splits={split: _qrels_reader(path, texts, queries, bad_rows) for split, path in qrels.items()},
        unread=[
            *unread_files(root, (corpus, queries)),
            *(f"qrels/{name}" for name in unread_files(root / "qrels", list(qrels.values()))),
        ],
    )


def _found(root: Path) -> str:
    """What the folder holds, and what its qrels; a test split alone can be carved from once it is called train."""
    found, qrels = listing(root), root / "qrels"
    if not qrels.is_dir():
        return found
    advice = "; a split is carved from train: rename one of them to train.tsv" if any(qrels.glob("*.tsv")) else ""
    return f"{found}, and in qrels/ {listing(qrels)}{advice}"


def _wrong_shape(raw: bytes, parts: list[str]) -> tuple[str, bool]:
    """(the reason to refuse a line of qrels, whether all lines of such a file have it)."""
    reason = "expected query-id, corpus-id and a whole score with tabs between"
    columns = raw.decode("utf-8", errors="replace").split()
    if len(columns) == 4 and columns[1] in ("0", "Q0"):
        return f"{reason}; these are TREC's four columns: leave out the second, and put tabs between", True
    if len(parts) == 3 and re.fullmatch(r"-?[0-9]+\.0+", parts[2]):
        return f"{reason}; write scores without a decimal point", True
    return reason, False


def _qrels_reader(path: Path, texts: dict[str, str], queries: Path, bad_rows: BadRows) -> Callable[[], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        judged: dict[str, Row] = {}
        for line_number, raw in json_files.read_lines(path):
            where = f"{path}:{line_number}"
            parts = raw.decode("utf-8", errors="replace").rstrip("\r\n").split("\t")
            if line_number == 1 and parts[-1] == "score":
                continue
            if len(parts) != 3 or not re.fullmatch(r"-?[0-9]+", parts[2]):
                reason, common = _wrong_shape(raw, parts)
                bad_rows.refuse(where, reason, raw, once=common)
            elif len(parts[2].lstrip("-0")) > len(str(LARGEST_JUDGMENT)) or abs(int(parts[2])) > LARGEST_JUDGMENT:
                bad_rows.refuse(where, f"expected a score from -{LARGEST_JUDGMENT} to {LARGEST_JUDGMENT}", raw)
            elif parts[0] not in texts:
                bad_rows.refuse(where, f"names the query {parts[0]!r}, which {queries.name} lacks", raw)
            else:
                row = judged.setdefault(parts[0], Row(where, raw, parts[0], texts[parts[0]], []))
                row.passages.append(Passage(parts[1], None, int(parts[2]), where, raw))
        yield from judged.values()

    return rows
