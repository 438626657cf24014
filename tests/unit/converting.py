"""A data set written as rows and converted in memory."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embedtune.core.errors import EmbedTuneError
from embedtune.data.convert import CorpusWriter, convert
from embedtune.data.corpus import Query
from embedtune.data.layouts.opening import open_layout
from embedtune.data.layouts.rows import BadRows

Rows = list[dict[str, Any]]


@dataclass
class Converted:
    """What conversion gave: document id -> text, split -> questions, counts, rows set aside."""

    documents: dict[str, str]
    questions: dict[str, list[Query]]
    counts: dict[str, Any]
    set_aside: Rows

    def by_text(self, split: str) -> dict[str, dict[str, int]]:
        """Question -> text of each judged document -> relevance, whatever the ids are."""
        return {
            query.text: {self.documents[document]: score for document, score in query.judgments.items()}
            for query in self.questions[split]
        }


def converted(root: Path, layout_format: str, on_bad_row: str = "fail") -> Converted:
    set_aside = io.BytesIO() if on_bad_row == "skip" else None
    bad_rows = BadRows(set_aside)
    corpus = io.BytesIO()
    questions, counts = convert(open_layout(root, layout_format, "zh", bad_rows), CorpusWriter(corpus), bad_rows)
    documents = [json.loads(line) for line in corpus.getvalue().splitlines()]
    assert len({row["_id"] for row in documents}) == len(documents) == counts["documents"]
    return Converted(
        {row["_id"]: row["text"] for row in documents},
        questions,
        counts,
        [json.loads(line) for line in set_aside.getvalue().splitlines()] if set_aside else [],
    )


def complaint(root: Path, layout_format: str) -> list[str]:
    """The lines of the message about a data set, its directory and the way to go on left out."""
    with pytest.raises(EmbedTuneError) as caught:
        converted(root, layout_format)
    *lines, hint = str(caught.value).replace(f"{root}/", "").split("\n")
    assert hint == "mend these rows, or write `on_bad_row: skip` to set them aside"
    return lines


def write_rows(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def mldr_row(query_id: str, query: str, positive: list[str], negative: list[str] | None = None) -> dict[str, Any]:
    """A row that names documents by id alone."""
    return {
        "query_id": query_id,
        "query": query,
        "positive_passages": [{"docid": document} for document in positive],
        "negative_passages": [{"docid": document} for document in negative or []],
    }
