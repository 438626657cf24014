"""Group queries by their length, document length and answer position, to show where a gain comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtune.data.corpus import Query, read_corpus
from embedtune.evaluation.slice_names import UNKNOWN, group_of
from embedtune.retrieval import bm25

WINDOW = 250  # characters; answers that the data set does not mark are searched for in windows of this size


def slices(queries: list[Query], corpus: Path, tokenizer: str = "bigrams") -> pd.DataFrame:
    """The groups of each query (see slice_names.py). `tokenizer` is one of terms.py's, for BM25.

    Columns: query_id, query_length, document_length (of the shortest relevant document), answer_position. If the data
    set marks no answer, the answer is assumed to be the window of a relevant document with the highest BM25 score. If
    no window shares a term with the query, its answer_position is unknown; both are, if no document is relevant.
    """
    relevant = {document for query in queries for document in query.relevant()}
    texts = {document.id: document.text for document in read_corpus(corpus) if document.id in relevant}
    positions = _answer_positions(queries, texts, tokenizer)
    rows = [
        {
            "query_id": query.id,
            "query_length": group_of(len(query.text), "query_length"),
            "document_length": _length_group([len(texts[document]) for document in query.relevant()]),
            "answer_position": UNKNOWN if position is None else group_of(position, "answer_position"),
        }
        for query, position in zip(queries, positions, strict=True)
    ]
    return pd.DataFrame(rows, columns=["query_id", "query_length", "document_length", "answer_position"])


def _answer_positions(queries: list[Query], texts: dict[str, str], tokenizer: str) -> Iterator[int | None]:
    """Yield the number of characters before each query's answer: the first marked answer, or else the best window."""
    starts: dict[str, list[int]] = {
        document: list(range(0, max(1, len(text)), WINDOW)) for document, text in texts.items()
    }
    first = dict(zip(starts, np.cumsum([0, *(len(places) for places in starts.values())]).tolist(), strict=False))
    unnamed = any(not _named(query) for query in queries)
    windows = (texts[document][start : start + WINDOW] for document in starts for start in starts[document])
    index = bm25.temporary_index(windows, tokenizer) if unnamed else None
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
        best, place = max(own, default=(0.0, 0))
        yield -place if best > 0 else None


def _length_group(lengths: list[int]) -> str:
    return group_of(min(lengths), "document_length") if lengths else UNKNOWN


def _named(query: Query) -> list[dict[str, Any]]:
    """The answers that the data set marks in relevant documents."""
    relevant = query.relevant()
    return [answer for answer in query.answers if answer["docid"] in relevant]
