"""Training rows of scored pairs: a query, one judged document's passage, its relevance and weight. Nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from embedtune.core.errors import ParameterError
from embedtune.data.corpus import Query
from embedtune.data.passages import Passages
from embedtune.mining.mined_rows import JudgedPair
from embedtune.mining.positives import PassageScorer, choose_positives
from embedtune.retrieval.dense import Vectors, exact_scores


def judged_pairs(
    queries: list[Query],
    query_vectors: Vectors,
    passage_vectors: Vectors,
    passages: Passages,
    number_of: dict[str, int],
    score: PassageScorer,
) -> Iterator[JudgedPair]:
    """Yield each judged document of each query, by its passage that `score` likes best (see positives.py).

    `query_vectors` (q, d) and `passage_vectors` (p, d), float16, are those of the model that the round starts from, and
    `number_of` maps document id -> document number. Raises ParameterError for a judgment that is no relevance from 0 to
    1.
    """
    for number, query in enumerate(queries):  # rows name it, since their vectors stand in this order
        for document, rel in query.judgments.items():
            if not 0 <= rel <= 1:
                raise ParameterError(
                    "objective",
                    f"expected judgments from 0 to 1, but question {query.id!r} has one of {rel:g}; write contrastive, "
                    "or scale the judgments",
                )
            own = passages.of_document(number_of[document])
            scores = score(number, number_of[document]) if len(own) > 1 else np.zeros(1)
            passage = choose_positives(scores, int(own[0]), most=1, close=0.0)[0].passage
            weight = query.weights.get(document, 1.0)
            cosine = float(exact_scores(query_vectors[[number]], passage_vectors, np.array([[passage]]))[0, 0])
            yield JudgedPair(number, query.id, query.text, document, passage, rel, weight, cosine)


def pair_counts(pairs: list[JudgedPair]) -> dict[str, Any]:
    """Counts of the pairs, for the metrics file."""
    rels, weights = np.array([pair.rel for pair in pairs]), np.array([pair.weight for pair in pairs])
    return {
        "pairs": len(pairs),
        "questions": len({pair.query_id for pair in pairs}),
        "rel_mean": float(rels.mean()),
        "weight_sum": float(weights.sum()),
    }
