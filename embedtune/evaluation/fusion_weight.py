"""The weight of dense scores in score fusion with BM25, tuned on dev queries."""

from __future__ import annotations

from embedtune.data.corpus import Query
from embedtune.evaluation.measures import per_query_scores
from embedtune.retrieval.fusion import weighted_score_fusion
from embedtune.retrieval.rankings import Rankings

WEIGHTS = [step / 20 for step in range(21)]  # of the dense scores: the grid that is searched
CHOSEN_BY, CUTOFF = "ndcg@10", 10


def best_weight(dense: Rankings, lexical: Rankings, queries: list[Query], document_ids: list[str]) -> float:
    """The weight of `weighted_score_fusion`, 0 to 1, with the best NDCG@10 on `queries`; of equals, the nearest to 0.5.

    Raises EmbedTuneError if there are no queries.
    """
    scored = []
    for weight in WEIGHTS:
        fused = weighted_score_fusion(dense, lexical, document_ids, CUTOFF, weight=weight)
        value = per_query_scores(queries, fused, document_ids, [CUTOFF])[CHOSEN_BY].mean()
        scored.append((round(float(value), 9), -abs(weight - 0.5), weight))
    return max(scored)[2]
