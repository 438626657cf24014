"""Evaluation of a model on first passages alone: how much of its score the beginnings of documents give."""

from __future__ import annotations

import numpy as np

from embedtune.data.corpus import Query
from embedtune.data.passages import Passages
from embedtune.evaluation.measures import per_query_scores
from embedtune.retrieval.dense import Vectors, rank_documents
from embedtune.retrieval.rankings import without_ignored


def first_passage_means(
    queries: list[Query], query_vectors: Vectors, passage_vectors: Vectors, passages: Passages, cutoffs: list[int]
) -> dict[str, float]:
    """Measure -> its mean over the queries, when each document is ranked by its first passage alone.

    `query_vectors` (q, d) and `passage_vectors` (p, d) are float16, in the order of `queries` and `passages`. Raises
    EmbedTuneError if there are no queries.
    """
    ids = passages.document_ids
    first = passage_vectors[passages.first_passage[:-1]]
    owner = np.arange(len(ids), dtype=np.int32)
    rankings = without_ignored(
        queries, ids, max(cutoffs), lambda depth: rank_documents(query_vectors, first, owner, ids, depth)
    )
    means = per_query_scores(queries, rankings, ids, cutoffs).mean()
    return {str(measure): float(mean) for measure, mean in means.items()}
