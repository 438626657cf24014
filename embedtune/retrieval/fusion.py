"""Fuse two rankings of the same queries: by reciprocal ranks, or as a weighted sum of scores.

A document that is missing from one list gets 0 from it. Ties are broken by document id, as in every search.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.retrieval.rankings import Rankings, rankings_of, tie_order

Row = tuple[NDArray[np.integer], NDArray[np.floating]]


def reciprocal_rank_fusion(
    first: Rankings, second: Rankings, document_ids: list[str], depth: int, *, k: int
) -> Rankings:
    """Reciprocal rank fusion (Cormack et al. 2009): the top `depth` documents by the mean of 1 / (k + rank)."""
    return _fuse(_reciprocal(first, k), _reciprocal(second, k), 0.5, document_ids, depth)


def weighted_score_fusion(
    dense: Rankings, lexical: Rankings, document_ids: list[str], depth: int, *, weight: float
) -> Rankings:
    """The top `depth` documents by `weight` * dense score + (1 - `weight`) * lexical score.

    The scores of each list are first scaled, query by query: 0 for the last document, 1 for the first (all 1 if equal).
    """
    return _fuse(_scaled(dense), _scaled(lexical), weight, document_ids, depth)


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
