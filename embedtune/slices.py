"""Questions in groups, to see where a gain comes from: by length, by documents' length, by where the answer stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtune import bm25
from embedtune.corpus import Query, read_corpus
from embedtune.lexical import terms

DOCUMENT_LENGTHS = [1_000, 2_000, 4_000, 8_000, 16_000]  # characters of the question's shortest relevant document
QUERY_LENGTHS = [10, 20, 40, 80]  # characters
ANSWER_POSITIONS = [500, 2_000, 4_000, 8_000]  # characters before the answer
UNKNOWN = "unknown"
WINDOW = 250  # characters; an answer that the data set does not name is looked for in windows of this size


def slices(queries: list[Query], corpus: Path) -> pd.DataFrame:
    """The group of each question (index query_id): columns query_length, document_length, answer_position.

    Groups are named by their bounds, such as 1000-2000. Where the data set names no answer, it is taken to be the
    window of a relevant document with the highest BM25 score; where no window has a word of the question, unknown.
    """
    relevant = {document for query in queries for document in query.relevant()}
    texts = {document.id: document.text for document in read_corpus(corpus) if document.id in relevant}
    positions = _answer_positions(queries, texts)
    rows = [
        {
            "query_id": query.id,
            "query_length": _group(len(query.text), QUERY_LENGTHS),
            "document_length": _group(min(len(texts[document]) for document in query.relevant()), DOCUMENT_LENGTHS),
            "answer_position": UNKNOWN if position is None else _group(position, ANSWER_POSITIONS),
        }
        for query, position in zip(queries, positions, strict=True)
    ]
    return pd.DataFrame(rows, columns=["query_id", "query_length", "document_length", "answer_position"])


def _group(value: int, bounds: list[int]) -> str:
    """The name of the group that holds `value`: above the lower bound, up to the upper one."""
    above = [bound for bound in bounds if value > bound]
    lower = above[-1] if above else 0
    return f"{lower}-{bounds[len(above)]}" if len(above) < len(bounds) else f"over_{lower}"


def _answer_positions(queries: list[Query], texts: dict[str, str]) -> Iterator[int | None]:
    """Characters before each question's answer: the first one named, else the best window's."""
    starts: dict[str, list[int]] = {
        document: list(range(0, max(1, len(text)), WINDOW)) for document, text in texts.items()
    }
    first = dict(zip(starts, np.cumsum([0, *(len(places) for places in starts.values())]).tolist(), strict=False))
    unnamed = [query.text for query in queries if not _named(query)]
    windows = (texts[document][start : start + WINDOW] for document in starts for start in starts[document])
    index = bm25.Index(windows, unnamed, terms) if unnamed else None
    for query in queries:
        named = _named(query)
        if named or index is None:
            yield min(answer["start"] for answer in named)
            continue
        scores = index.scores(query.text)
        own = [
            (float(scores[first[document] + i]), -start)
            for document in query.relevant()
            for i, start in enumerate(starts[document])
        ]
        best, place = max(own)
        yield -place if best > 0 else None


def _named(query: Query) -> list[dict[str, Any]]:
    relevant = query.relevant()
    return [answer for answer in query.answers if answer["docid"] in relevant]
