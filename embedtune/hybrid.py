"""Fuse two rankings of the same questions: by reciprocal ranks, or as a weighted sum of scores.

Documents that a list lacks count as ranked behind all of it. Ties go by document id, as in every search.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.corpus import Query
from embedtune.lexical_search import rankings_of
from embedtune.measures import per_query_scores
from embedtune.search import Rankings, tie_order

WEIGHTS = [step / 20 for step in range(21)]  # of the dense scores, tried on dev
CHOSEN_BY, CUTOFF = "ndcg@10", 10

Row = tuple[NDArray[np.integer], NDArray[np.floating]]


def fuse_ranks(first: Rankings, second: Rankings, document_ids: list[str], depth: int, k: int) -> Rankings:
    """Reciprocal rank fusion (Cormack et al. 2009): the mean of 1 / (k + rank), the first `depth` documents."""
    return _fuse(_reciprocal(first, k), _reciprocal(second, k), 0.5, document_ids, depth)


def fuse_scores(dense: Rankings, lexical: Rankings, weight: float, document_ids: list[str], depth: int) -> Rankings:
    """The sum of `weight` times the dense and (1 - weight) times the lexical scores, each list's scaled to 0 to 1."""
    return _fuse(_scaled(dense), _scaled(lexical), weight, document_ids, depth)


def best_weight(dense: Rankings, lexical: Rankings, queries: list[Query], document_ids: list[str]) -> float:
    """The weight of `fuse_scores` with the highest NDCG@10 on these questions; of equals, the nearest to 0.5."""
    scored = []
    for weight in WEIGHTS:
        fused = fuse_scores(dense, lexical, weight, document_ids, CUTOFF)
        value = per_query_scores(queries, fused, document_ids, [CUTOFF])[CHOSEN_BY].mean()
        scored.append((round(float(value), 9), -abs(weight - 0.5), weight))
    return max(scored)[2]


def _reciprocal(rankings: Rankings, k: int) -> list[Row]:
    present = [documents[documents >= 0] for documents in rankings.documents]
    return [(documents, 1 / (k + np.arange(1, len(documents) + 1))) for documents in present]


def _scaled(rankings: Rankings) -> list[Row]:
    rows = []
    for documents, scores in zip(rankings.documents, rankings.scores, strict=True):
        found = documents >= 0
        values = scores[found].astype(np.float64)
        span = values[0] - values[-1] if len(values) else 0.0
        rows.append((documents[found], (values - values[-1]) / span if span > 0 else np.ones(len(values))))
    return rows


def _fuse(first: list[Row], second: list[Row], weight: float, document_ids: list[str], depth: int) -> Rankings:
    order = tie_order(document_ids)
    rows: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for (documents, scores), (others, other_scores) in zip(first, second, strict=True):
        every = np.union1d(documents, others)
        total = np.zeros(len(every))
        total[np.searchsorted(every, documents)] += weight * scores
        total[np.searchsorted(every, others)] += (1 - weight) * other_scores
        rounded = total.astype(np.float32)
        best = np.lexsort((order[every], -rounded))[:depth]
        rows.append((every[best], rounded[best]))
    return rankings_of(rows, min(depth, len(document_ids)))
