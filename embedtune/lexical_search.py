"""Search by words: documents ranked by BM25 over their whole texts, with the same rule for ties as any other search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.bm25 import Index
from embedtune.corpus import Query
from embedtune.progress import bar
from embedtune.search import Rankings, tie_order


def rank_by_words(index: Index, queries: list[Query], document_ids: list[str], depth: int) -> Rankings:
    """Rank the texts of `index`, which are documents `document_ids`, for each query: the first `depth` of them.

    Documents that share no term with the query are not ranked. `passages` of the result are -1.
    """
    order = tie_order(document_ids)
    rows = [_best(index.scores(query.text), order, depth) for query in bar(queries, unit=" questions", desc="bm25")]
    return rankings_of(rows, min(depth, len(document_ids)))


def _best(scores: NDArray[np.float32], order: NDArray[np.int64], depth: int) -> tuple[NDArray[Any], NDArray[Any]]:
    found = np.flatnonzero(scores > 0)
    if len(found) > depth:
        lowest = np.partition(scores[found], -depth)[-depth]
        found = found[scores[found] >= lowest]
    found = found[np.lexsort((order[found], -scores[found]))][:depth]
    return found, scores[found]


def write_rankings(directory: Path, name: str, rankings: Rankings) -> None:
    """Write documents and scores as two arrays, for `read_rankings`."""
    np.save(directory / f"{name}-documents.npy", rankings.documents)
    np.save(directory / f"{name}-scores.npy", rankings.scores)


def read_rankings(directory: Path, name: str) -> Rankings:
    """What `write_rankings` wrote; passages are unknown (-1)."""
    documents = np.load(directory / f"{name}-documents.npy")
    return Rankings(documents, np.full(documents.shape, -1, np.int64), np.load(directory / f"{name}-scores.npy"))


def rankings_of(rows: list[tuple[NDArray[Any], NDArray[Any]]], depth: int) -> Rankings:
    """Rankings of (documents, scores) for each query, best first, filled up to `depth`; passages are unknown (-1)."""

    shape = (len(rows), depth)
    result = Rankings(
        np.full(shape, -1, dtype=np.int32), np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf, np.float32)
    )
    for number, (documents, scores) in enumerate(rows):
        result.documents[number, : len(documents)], result.scores[number, : len(scores)] = documents, scores
    return result
