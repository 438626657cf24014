"""Rankings of documents, their tie-breaking rule, and their files.

Ties are broken by document id, descending, as in trec_eval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.data.corpus import Query


@dataclass(frozen=True)
class Rankings:
    """The top documents of each query, best first. All arrays have the shape (queries, depth).

    `documents` holds document numbers, `passages` the numbers of their best passages (-1: unknown). A query with fewer
    documents is padded: -1 in `documents` and `passages`, -inf in `scores`.
    """

    documents: NDArray[np.int32]
    passages: NDArray[np.int64]
    scores: NDArray[np.float32]


def tie_order(document_ids: list[str], among: NDArray[np.int32] | None = None) -> NDArray[np.int64]:
    """Each document's sort key among documents of equal score, shape (n,): its position by id, descending.

    If `among` is given, only these documents (numbers) get a key: sorting all ids takes longer than an index search.
    """
    placed = range(len(document_ids)) if among is None else np.unique(among).tolist()
    places = np.zeros(len(document_ids), dtype=np.int64)
    places[sorted(placed, key=document_ids.__getitem__, reverse=True)] = np.arange(len(placed))
    return places


def write_rankings(directory: Path, name: str, rankings: Rankings) -> None:
    """Write documents and scores as two .npy files, for `read_rankings`."""
    np.save(directory / f"{name}-documents.npy", rankings.documents)
    np.save(directory / f"{name}-scores.npy", rankings.scores)


def read_rankings(directory: Path, name: str) -> Rankings:
    """Read the rankings that `write_rankings` wrote; passages are unknown (-1)."""
    documents = np.load(directory / f"{name}-documents.npy")
    return Rankings(documents, np.full(documents.shape, -1, np.int64), np.load(directory / f"{name}-scores.npy"))


def cut(rankings: Rankings, depth: int) -> Rankings:
    """The top `depth` documents of each query."""
    columns = slice(0, depth)
    return Rankings(rankings.documents[:, columns], rankings.passages[:, columns], rankings.scores[:, columns])


def without_ignored(
    queries: Sequence[Query], document_ids: list[str], depth: int, rank: Callable[[int], Rankings]
) -> Rankings:
    """The top `depth` documents of each query, less those that it ignores; `rank` gives the top so many of all."""
    ids = {document for query in queries for document in query.ignored}
    if not ids:
        return rank(depth)
    number_of = {document: number for number, document in enumerate(document_ids) if document in ids}
    found = rank(depth + max(len(query.ignored) for query in queries))
    ignored = np.zeros(found.documents.shape, dtype=bool)
    for row, query in enumerate(queries):
        ignored[row] = np.isin(found.documents[row], [number_of[i] for i in query.ignored if i in number_of])
    order = np.argsort(ignored, axis=1, kind="stable")
    left = np.take_along_axis(ignored, order, 1)
    return cut(
        Rankings(
            np.where(left, -1, np.take_along_axis(found.documents, order, 1)),
            np.where(left, -1, np.take_along_axis(found.passages, order, 1)),
            np.where(left, np.float32(-np.inf), np.take_along_axis(found.scores, order, 1)),
        ),
        min(depth, len(document_ids)),
    )


def rankings_of(rows: list[tuple[NDArray[Any], NDArray[Any]]], depth: int) -> Rankings:
    """Rankings from each query's (documents, scores), best first, padded to `depth`; passages are unknown (-1)."""

    shape = (len(rows), depth)
    result = Rankings(
        np.full(shape, -1, dtype=np.int32), np.full(shape, -1, dtype=np.int64), np.full(shape, -np.inf, np.float32)
    )
    for number, (documents, scores) in enumerate(rows):
        result.documents[number, : len(documents)], result.scores[number, : len(scores)] = documents, scores
    return result
