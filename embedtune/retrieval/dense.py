"""Dense search for documents by their best passage (MaxP), exact unless an approximate index is given.

FAISS finds candidate passages in float32, and their scores are recomputed in float64. Inner products of float16 unit
vectors are exact in float64: the products are multiples of 2**-48 and the partial sums are below 2. A score therefore
depends only on the two vectors, never on the batch, the block or the library. Documents are ranked by the score rounded
to float32. Ties are broken by document id, descending, as in trec_eval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from embedtune.retrieval.rankings import Rankings, tie_order

BLOCK_ROWS = 65_536  # passages converted to float32 at a time: 200 MB at 768 dimensions
CANDIDATES_AT_A_TIME = 4_000_000  # of all queries searched together: 50 MB of scores and numbers, in a few copies
RESCORE_BYTES = 200_000_000  # of candidate vectors in float64 in memory at a time
GPU_CANDIDATES = 2_048  # FAISS's limit for one query on a GPU; a deeper exact search runs on the CPU
INDEX_CANDIDATES = 65_536  # limit for an approximate index; at this limit a ranking may stay shorter than `depth`
FAISS_ERROR = 1e-5  # bound on the error of a float32 score, relative to the product of the two vectors' norms
Vectors = NDArray[np.float16]
# (queries (q, d), k) -> (scores (q, k), passage numbers (q, k), -1 where the search found no more)
CandidateSearch = Callable[[Vectors, int], tuple[NDArray[np.float32], NDArray[np.int64]]]


def rank_documents(
    queries: Vectors,
    passages: Vectors,
    document: NDArray[np.int32],
    document_ids: list[str],
    depth: int,
    index: CandidateSearch | None = None,
    use_gpu: bool = True,
    best_of: int = 1,
) -> Rankings:
    """The top `depth` documents of each query, by the inner product of the query with the document's best passage.

    With `best_of` above 1, a document's score is the mean over its `best_of` best passages, or over all of them if it
    has fewer. `queries` (q, d) and `passages` (p, d) are float16. `document` (p,) holds each passage's document number.

    `index` replaces the exact flat search with an approximate one (see indexes.py). It may miss documents, and it may
    find fewer than `depth`. The flat search runs on the GPU if there is one and `use_gpu` is true.
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
            exhausted = np.any(found < 0, axis=1)  # an approximate index that finds no more candidates
            scores = exact_scores(queries[block], passages, found)
            lowest = found_scores.min(axis=1)
            for i, query in enumerate(block):
                if passages_of:  # a mean is at most the best score: no missed document can outrank a found one
                    ranked = _mean_of_best_passages(
                        queries[query], passages, found[i], document, passages_of, best_of, order, depth
                    )
                else:
                    ranked = _max_over_passages(found[i], scores[i], document, order, depth)
                enough = len(ranked[0]) == depth and (not exact or lowest[i] < ranked[2][-1] - error)
                if wanted < most and not enough and not exhausted[i]:
                    unfinished.append(query)
                    continue
                count = len(ranked[0])
                result.documents[query, :count], result.passages[query, :count], result.scores[query, :count] = ranked
        open_queries = np.array(unfinished, dtype=np.int64)
        wanted = min(most, 4 * wanted)
    return result


def exact_scores(queries: Vectors, passages: Vectors, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """Inner products of each query (q, d) with its own candidates among `passages` (p, d), float32, shape (q, k).

    `numbers` (q, k) are the candidates' passage numbers; -1 scores -inf. Scores are computed in float64 and rounded
    once, to float32.
    """
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


def _max_over_passages(
    found: NDArray[np.int64],
    scores: NDArray[np.float32],
    document: NDArray[np.int32],
    tie_order: NDArray[np.int64],
    depth: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
    """Reduce one query's passages to its top `depth` documents: (documents, their best passages, scores)."""
    present = found >= 0
    found, scores = found[present], scores[present]
    documents = document[found]
    order = np.lexsort((found, tie_order[documents], -scores))
    _, first = np.unique(documents[order], return_index=True)
    best = order[np.sort(first)[:depth]]
    return documents[best], found[best], scores[best]


def _passages_by_document(document: NDArray[np.int32], documents: int) -> Callable[[int], NDArray[np.int64]]:
    """A function from a document's number to the numbers of its passages."""
    order = np.argsort(document, kind="stable")
    first = np.searchsorted(document[order], np.arange(documents + 1))
    return lambda number: order[first[number] : first[number + 1]]


def _mean_of_best_passages(
    query: NDArray[np.float16],
    passages: Vectors,
    found: NDArray[np.int64],
    document: NDArray[np.int32],
    passages_of: Callable[[int], NDArray[np.int64]],
    best_of: int,
    tie_order: NDArray[np.int64],
    depth: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]:
    """Like `_max_over_passages`, but each document scores the mean over its `best_of` best passages."""
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
    """The largest L2 norm of the vectors (0 if there are none)."""
    blocks = (vectors[start : start + BLOCK_ROWS].astype(np.float32) for start in range(0, len(vectors), BLOCK_ROWS))
    return max((float(np.linalg.norm(block, axis=1).max()) for block in blocks), default=0.0)


def _flat(passages: Vectors, use_gpu: bool) -> CandidateSearch:
    """Brute-force search that reads `passages` block by block; the array may be memory-mapped."""
    resources = faiss.StandardGpuResources() if use_gpu and faiss.get_num_gpus() else None  # one: each takes GPU memory

    def search(queries: Vectors, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        queries32 = np.ascontiguousarray(queries, dtype=np.float32)
        scores = np.empty((len(queries), 0), dtype=np.float32)
        numbers = np.empty((len(queries), 0), dtype=np.int64)
        for start in range(0, len(passages), BLOCK_ROWS):
            block = np.ascontiguousarray(passages[start : start + BLOCK_ROWS], dtype=np.float32)
            block_scores, block_numbers = _knn(queries32, block, min(count, len(block)), resources)
            scores = np.concatenate([scores, block_scores], axis=1)
            numbers = np.concatenate([numbers, block_numbers + start], axis=1)
            if scores.shape[1] > count:
                best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
                scores, numbers = np.take_along_axis(scores, best, 1), np.take_along_axis(numbers, best, 1)
        return scores, numbers

    return search


def _knn(
    queries: NDArray[np.float32], block: NDArray[np.float32], count: int, resources: Any
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if resources is not None and count <= GPU_CANDIDATES:
        return faiss.knn_gpu(resources, queries, block, count, metric=faiss.METRIC_INNER_PRODUCT)
    return faiss.knn(queries, block, count, metric=faiss.METRIC_INNER_PRODUCT)
