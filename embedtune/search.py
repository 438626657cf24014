"""Exact search for documents by their best passage, with one rule for ties, on FAISS.

FAISS finds candidate passages in float32; their scores are then computed anew in float64. Inner products of float16
vectors of length 1 are exact there (products are multiples of 2**-48 and partial sums below 2), so that a score
depends on the two vectors alone, never on batch, block or library. Ranks follow the score rounded to float32, and
among equal scores the document id, descending, as trec_eval sorts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 65_536  # passages converted to float32 at a time: 200 MB at 768 dimensions
CANDIDATES_AT_A_TIME = 4_000_000  # of all queries searched together: 50 MB of scores and numbers, a few times over
RESCORE_BYTES = 200_000_000  # candidate vectors in float64 at a time
GPU_CANDIDATES = 2_048  # what FAISS can sort on a GPU; a deeper search runs on the CPU
INDEX_CANDIDATES = 65_536  # the most that an approximate index is asked for before fewer documents will do
FAISS_ERROR = 1e-5  # how far a float32 score may be from the exact one, times the lengths of the two vectors

Vectors = NDArray[np.float16]
Candidates = Callable[[Vectors, int], tuple[NDArray[np.float32], NDArray[np.int64]]]


@dataclass(frozen=True)
class Rankings:
    """The best documents of each query, best first; all arrays (queries, depth), -1 where there are fewer.

    `documents` are document numbers, `passages` the numbers of their best passages, `scores` float32.
    """

    documents: NDArray[np.int32]
    passages: NDArray[np.int64]
    scores: NDArray[np.float32]


def rank_documents(
    queries: Vectors,
    passages: Vectors,
    document: NDArray[np.int32],
    document_ids: list[str],
    depth: int,
    index: Candidates | None = None,
    use_gpu: bool = True,
    best_of: int = 1,
) -> Rankings:
    """Rank documents by the inner product of their best passage with each query, the first `depth` of them.

    With `best_of` above 1 a document scores the mean of so many of its best passages (of all, if it has fewer).
    `queries` (q, d) and `passages` (p, d) are float16; `document` (p,) is each passage's document number. `index` names
    candidates in the place of a flat search (see indexes.py): it may miss documents, and give fewer than `depth` where
    it finds no more. A flat search runs on the GPU if there is one and `use_gpu`.
    """
    depth = min(depth, len(document_ids))
    exact = index is None
    candidates = index or _flat(passages, use_gpu)
    error = FAISS_ERROR * _longest(queries) * _longest(passages) if exact else 0.0
    passages_of = _passages_by_document(document, len(document_ids)) if best_of > 1 else None
    result = Rankings(
        np.full((len(queries), depth), -1, dtype=np.int32),
        np.full((len(queries), depth), -1, dtype=np.int64),
        np.full((len(queries), depth), -np.inf, dtype=np.float32),
    )
    open_queries = np.arange(len(queries)) if depth else np.arange(0)
    most = len(passages) if exact else min(len(passages), INDEX_CANDIDATES)
    wanted = min(most, 2 * depth + 16)
    while len(open_queries):
        together = max(1, CANDIDATES_AT_A_TIME // wanted)
        unfinished = []
        for start in range(0, len(open_queries), together):
            block = open_queries[start : start + together]
            found_scores, found = candidates(queries[block], wanted)
            order = tie_order(document_ids, document[found[found >= 0]])
            exhausted = np.any(found < 0, axis=1)  # an approximate index that has no more to name
            scores = exact_scores(queries[block], passages, found)
            lowest = found_scores.min(axis=1)
            for i, query in enumerate(block):
                if passages_of:  # a mean is at most the best: what was not found cannot rank above what was
                    ranked = _fold_means(
                        queries[query], passages, found[i], document, passages_of, best_of, order, depth
                    )
                else:
                    ranked = _fold(found[i], scores[i], document, order, depth)
                enough = len(ranked[0]) == depth and (not exact or lowest[i] < ranked[2][-1] - error)
                if wanted < most and not enough and not exhausted[i]:
                    unfinished.append(query)
                    continue
                count = len(ranked[0])
                result.documents[query, :count], result.passages[query, :count], result.scores[query, :count] = ranked
        open_queries = np.array(unfinished, dtype=np.int64)
        wanted = min(most, 4 * wanted)
    return result


def tie_order(document_ids: list[str], among: NDArray[np.int32] | None = None) -> NDArray[np.int64]:
    """Each document's place among documents of equal score: by id, descending, as trec_eval sorts. Shape (n,).

    Only the documents (numbers) in `among` are placed, if given: sorting all ids takes longer than an index's search.
    """
    placed = range(len(document_ids)) if among is None else np.unique(among).tolist()
    places = np.zeros(len(document_ids), dtype=np.int64)
    places[sorted(placed, key=document_ids.__getitem__, reverse=True)] = np.arange(len(placed))
    return places


def exact_scores(queries: Vectors, passages: Vectors, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """Inner products of each query (q, d) with its own passages `numbers` (q, k), rounded once; -1 scores -inf."""
    scores = np.empty(numbers.shape, dtype=np.float32)
    columns = max(1, RESCORE_BYTES // (8 * queries.shape[1]))
    rows = max(1, columns // max(1, numbers.shape[1]))
    for row in range(0, len(numbers), rows):
        for column in range(0, numbers.shape[1], columns):
            part = (slice(row, row + rows), slice(column, column + columns))
            chosen = numbers[part]
            gathered = passages[chosen.ravel()].reshape(*chosen.shape, -1).astype(np.float64)
            scores[part] = (gathered @ queries[part[0]].astype(np.float64)[:, :, None])[:, :, 0]
    return np.where(numbers < 0, np.float32(-np.inf), scores)


def _fold(
    found: NDArray[np.int64],
    scores: NDArray[np.float32],
    document: NDArray[np.int32],
    tie_order: NDArray[np.int64],
    depth: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
    """One query's passages to its documents: (documents, their best passages, scores), at most `depth` of each."""
    present = found >= 0
    found, scores = found[present], scores[present]
    documents = document[found]
    order = np.lexsort((found, tie_order[documents], -scores))
    _, first = np.unique(documents[order], return_index=True)
    best = order[np.sort(first)[:depth]]
    return documents[best], found[best], scores[best]


def _passages_by_document(document: NDArray[np.int32], documents: int) -> Callable[[int], NDArray[np.int64]]:
    order = np.argsort(document, kind="stable")
    first = np.searchsorted(document[order], np.arange(documents + 1))
    return lambda number: order[first[number] : first[number + 1]]


def _fold_means(
    query: NDArray[np.float16],
    passages: Vectors,
    found: NDArray[np.int64],
    document: NDArray[np.int32],
    passages_of: Callable[[int], NDArray[np.int64]],
    best_of: int,
    tie_order: NDArray[np.int64],
    depth: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
    """As `_fold`, by the mean of each found document's `best_of` best passages."""
    documents = np.unique(document[found[found >= 0]])
    groups = [passages_of(number) for number in documents]
    scores = exact_scores(query[None], passages, np.concatenate([*groups, np.zeros(0, np.int64)])[None])[0]
    best, means = [], np.empty(len(documents), dtype=np.float32)
    start = 0
    for row, group in enumerate(groups):
        own = scores[start : start + len(group)]
        start += len(group)
        best.append(group[own.argmax()])
        means[row] = np.sort(own)[-best_of:].mean(dtype=np.float64)
    order = np.lexsort((tie_order[documents], -means))[:depth]
    return documents[order], np.array(best, dtype=np.int64)[order], means[order]


def _longest(vectors: Vectors) -> float:
    """The greatest length among the vectors (0 if there are none)."""
    blocks = (vectors[start : start + BLOCK_ROWS].astype(np.float32) for start in range(0, len(vectors), BLOCK_ROWS))
    return max((float(np.linalg.norm(block, axis=1).max()) for block in blocks), default=0.0)


def _flat(passages: Vectors, use_gpu: bool) -> Candidates:
    """Brute force, block by block through the array, which may be mapped from disk."""

    def search(queries: Vectors, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        queries32 = np.ascontiguousarray(queries, dtype=np.float32)
        scores = np.empty((len(queries), 0), dtype=np.float32)
        numbers = np.empty((len(queries), 0), dtype=np.int64)
        for start in range(0, len(passages), BLOCK_ROWS):
            block = np.ascontiguousarray(passages[start : start + BLOCK_ROWS], dtype=np.float32)
            block_scores, block_numbers = _knn(queries32, block, min(count, len(block)), use_gpu)
            scores = np.concatenate([scores, block_scores], axis=1)
            numbers = np.concatenate([numbers, block_numbers + start], axis=1)
            if scores.shape[1] > count:
                best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
                scores, numbers = np.take_along_axis(scores, best, 1), np.take_along_axis(numbers, best, 1)
        return scores, numbers

    return search


def _knn(
    queries: NDArray[np.float32], block: NDArray[np.float32], count: int, use_gpu: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if use_gpu and faiss.get_num_gpus() and count <= GPU_CANDIDATES:
        resources = faiss.StandardGpuResources()
        return faiss.knn_gpu(resources, queries, block, count, metric=faiss.METRIC_INNER_PRODUCT)
    return faiss.knn(queries, block, count, metric=faiss.METRIC_INNER_PRODUCT)
