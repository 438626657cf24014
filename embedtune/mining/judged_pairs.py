"""Training rows of scored pairs: a query, one judged document's passage, its relevance and weight. Nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from embedtune.core.errors import ParameterError
from embedtune.mining.mine import MiningData
from embedtune.mining.mined_rows import JudgedPair
from embedtune.mining.positives import PassageScorer, choose_positives
from embedtune.retrieval.dense import exact_scores


def judged_pairs(pool: MiningData, score: PassageScorer) -> Iterator[JudgedPair]:
    """Yield each judged document of each query of `pool`, by its passage that `score` likes best (see positives.py).

    Raises ParameterError for a judgment that is no relevance from 0 to 1.
    """
    for number, query in enumerate(pool.queries):  # rows name it, since their vectors stand in this order
        outside = [rel for rel in query.judgments.values() if not 0 <= rel <= 1]
        if outside:
            raise ParameterError(
                "objective",
                f"expected judgments from 0 to 1, but question {query.id!r} has one of {outside[0]:g}; write "
                "contrastive, or scale the judgments",
            )
        chosen = [_passage(pool, score, number, pool.number_of[document]) for document in query.judgments]
        cosines = exact_scores(pool.query_vectors[[number]], pool.passage_vectors, np.array([chosen]))[0]
        for (document, rel), passage, cosine in zip(query.judgments.items(), chosen, cosines, strict=True):
            weight = query.weights.get(document, 1.0)
            yield JudgedPair(number, query.id, query.text, document, passage, rel, weight, float(cosine))


def _passage(pool: MiningData, score: PassageScorer, query: int, document: int) -> int:
    own = pool.passages.of_document(document)
    scores = score(query, document) if len(own) > 1 else np.zeros(1)
    return choose_positives(scores, int(own[0]), most=1, close=0.0)[0].passage


def pair_counts(pairs: list[JudgedPair]) -> dict[str, Any]:
    """Counts of the pairs, for the metrics file."""
    rels, weights = np.array([pair.rel for pair in pairs]), np.array([pair.weight for pair in pairs])
    return {
        "pairs": len(pairs),
        "questions": len({pair.query_id for pair in pairs}),
        "rel_mean": float(rels.mean()),
        "weight_sum": float(weights.sum()),
    }
