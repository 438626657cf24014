"""Scores against graded judgments: correlation and squared error over all judged pairs, NDCG over each query's own.

A system is measured by its rankings alone: the score of a judged document is that of its place in the ranking. One that
is not ranked has the lowest score of the ranking, or 0 where the ranking ended before its depth (a search by words
leaves out what shares no term with the query). Rankings of JUDGED_DEPTH documents reach all of most such corpora.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr

from embedtune.data.corpus import Query
from embedtune.evaluation.measures import graded_ndcg
from embedtune.retrieval.rankings import Rankings, rankings_of

JUDGED_DEPTH = 20_000  # documents of a question that are ranked to find those that are judged
FEWEST = 3  # pairs that a correlation is computed of


def is_graded(queries: list[Query]) -> bool:
    """Whether the judgments are grades: scored pairs, or others with dataset.relevant_from."""
    return any(query.relevant_from is not None for query in queries)


def judged_scores(queries: list[Query], rankings: Rankings, document_ids: list[str]) -> pd.DataFrame:
    """A row for each judged pair: query_id, document, rel, weight, and the system's score."""
    rows = [
        (query.id, document, rel, query.weights.get(document, 1.0), scores.get(document, unranked))
        for query, scores, unranked in _judged(queries, rankings, document_ids)
        for document, rel in query.judgments.items()
    ]
    return pd.DataFrame(rows, columns=["query_id", "document", "rel", "weight", "score"])


def _judged(
    queries: list[Query], rankings: Rankings, document_ids: list[str]
) -> Iterator[tuple[Query, dict[str, float], float]]:
    """Yield each query with the scores of its judged documents, best first, and the score of those not ranked."""
    number_of = {document_id: number for number, document_id in enumerate(document_ids)}
    for query, documents, scores in zip(queries, rankings.documents, rankings.scores, strict=True):
        kept = np.isin(documents, [number_of[document] for document in query.judgments])
        ranked = {document_ids[d]: float(s) for d, s in zip(documents[kept], scores[kept], strict=True)}
        lowest = float(scores[documents >= 0].min(initial=np.inf))
        yield query, ranked, lowest if (documents >= 0).all() else min(0.0, lowest)


def fitted_line(pairs: pd.DataFrame) -> tuple[float, float]:
    """(scale, bias) with the least weighted squared difference of scale * score + bias and relevance."""
    if pairs["score"].nunique() < 2:
        return 0.0, float(np.average(pairs["rel"], weights=pairs["weight"]))
    scale, bias = np.polyfit(pairs["score"], pairs["rel"], 1, w=np.sqrt(pairs["weight"]))
    return float(scale), float(bias)


def agreement(pairs: pd.DataFrame, line: tuple[float, float]) -> dict[str, float]:
    """Pearson's and Spearman's correlation of score and relevance, and the mean squared difference.

    `mse` is plain and `weighted_mse` counts each pair by its weight; both are of scores as they are, which are cosines
    or probabilities where a system was trained for that. `fitted_mse` and `fitted_weighted_mse` are the same after the
    scale and the bias of `line`, so that systems with scores of any range can be compared. Correlations of fewer than
    FEWEST pairs, or of equal scores, are left out. `pairs` is of `judged_scores`.
    """
    found = {}
    for name, (scale, bias) in {"": (1.0, 0.0), "fitted_": line}.items():
        errors = (scale * pairs["score"] + bias - pairs["rel"]).to_numpy() ** 2
        found[f"{name}mse"] = float(errors.mean())
        found[f"{name}weighted_mse"] = float(np.average(errors, weights=pairs["weight"]))
    if len(pairs) >= FEWEST and pairs["score"].nunique() > 1 and pairs["rel"].nunique() > 1:
        found["pearson"] = float(pearsonr(pairs["score"], pairs["rel"]).statistic)
        found["spearman"] = float(spearmanr(pairs["score"], pairs["rel"]).statistic)
    return found


def judged_ndcg(
    queries: list[Query], rankings: Rankings, document_ids: list[str], cutoffs: list[int]
) -> dict[str, list[float]]:
    """judged_ndcg@k -> NDCG of each query's judged documents alone, as the system orders them. Others do not count."""
    number_of = {document_id: number for number, document_id in enumerate(document_ids)}
    rows = []
    for query, scores, unranked in _judged(queries, rankings, document_ids):
        missing = sorted(query.judgments.keys() - scores.keys(), reverse=True)  # ties by id, descending
        order = [number_of[document] for document in (*scores, *missing)]
        rows.append((np.array(order), np.array([*scores.values(), *([unranked] * len(missing))], dtype=np.float32)))
    own = rankings_of(rows, max(len(query.judgments) for query in queries))
    return {f"judged_ndcg@{k}": graded_ndcg(queries, own, document_ids, k) for k in cutoffs}
