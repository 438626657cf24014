"""The same small data set in every layout, and how it is written and read."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from embedtune.core.errors import EmbedTuneError
from embedtune.data.layouts.opening import open_layout
from embedtune.data.layouts.rows import BadRows, Row

Rows = list[dict[str, Any]]
CORPUS = [{"docid": "d1", "text": "第一篇"}, {"docid": "d2", "text": "second"}, {"docid": "d3", "text": "third"}]
MLDR = {
    "train": [
        {
            "query_id": "q1",
            "query": "一？",
            "positive_passages": [{"docid": "d1", "text": "第一篇"}],
            "negative_passages": [{"docid": "d2", "text": "second"}, {"docid": "d3", "text": "third"}],
        },
        {
            "query_id": "q2",
            "query": "two?",
            "positive_passages": [{"docid": "d2", "text": "second"}, {"docid": "d3", "text": "third"}],
            "negative_passages": [],
        },
    ],
    "dev": [{"query_id": "q3", "query": "three?", "positive_passages": [{"docid": "d3", "text": "third"}]}],
}
TRIPLETS = [
    {"query": "一？", "pos": ["第一篇"], "neg": ["second", "third"]},
    {"query": "two?", "pos": ["second", "third"], "neg": []},
]
PAIRS = [{"query": "一？", "pos_doc": "第一篇"}, {"query": "two?", "pos_doc": "second"}]
SCORED = [{"query": "一？", "doc": "第一篇", "rel": 1.0}, {"query": "一？", "doc": "second", "rel": 0.25}]
BEIR_QUERIES = [{"_id": "q1", "text": "一？"}, {"_id": "q2", "text": "two?"}, {"_id": "q3", "text": "three?"}]
BEIR_CORPUS = [{"_id": row["docid"], "title": "", "text": row["text"]} for row in CORPUS]
BEIR_TRAIN = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq1\td3\t0\nq2\td2\t1\nq2\td3\t1\n"
BEIR_DEV = "query-id\tcorpus-id\tscore\nq3\td3\t1\n"


def write_rows(path: Path, rows: Rows | list[str]) -> None:
    """Write rows, or lines as they are, gzipped if the path says so."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    content = "".join(line + "\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mldr(folder: Path, suffix: str = ".jsonl") -> None:
    write_rows(folder / f"corpus{suffix}", CORPUS)
    for split, rows in MLDR.items():
        write_rows(folder / f"{split}{suffix}", rows)


def write_beir(
    root: Path, *, queries: Rows | list[str] = BEIR_QUERIES, corpus: Rows | list[str] = BEIR_CORPUS, **qrels: str
) -> None:
    write_rows(root / "corpus.jsonl", corpus)
    write_rows(root / "queries.jsonl", queries)
    (root / "qrels").mkdir()
    for split, text in (qrels or {"train": BEIR_TRAIN, "dev": BEIR_DEV}).items():
        (root / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")


def judged(row: Row) -> tuple[str | None, str, list[tuple[str | None, int]]]:
    return row.id, row.query, [(passage.id, passage.relevance) for passage in row.passages]


def texts(row: Row) -> tuple[str, list[tuple[str | None, int]]]:
    return row.query, [(passage.text, passage.relevance) for passage in row.passages]


def read(
    root: Path, layout_format: str, language: str = "zh", set_aside: io.BytesIO | None = None
) -> tuple[list[tuple[str, str]], dict[str, list[Row]], BadRows]:
    """Corpus, splits and the collector of bad rows."""
    bad_rows = BadRows(set_aside)
    layout = open_layout(root, layout_format, language, bad_rows)
    corpus = [(row.id, row.text) for row in layout.corpus()]
    return corpus, {split: list(rows()) for split, rows in layout.splits.items()}, bad_rows


def complaint(root: Path, layout_format: str, hint: bool = True) -> str:
    """The whole message about a data set, its directory left out; `hint` if it ends in the way to go on."""
    with pytest.raises(EmbedTuneError) as caught:
        read(root, layout_format)[2].raise_if_fatal()
    message = str(caught.value).replace(f"{root}/", "")
    ending = "\nmend these rows, or write `on_bad_row: skip` to set them aside"
    assert message.endswith(ending) == hint, message
    return message.removesuffix(ending)
