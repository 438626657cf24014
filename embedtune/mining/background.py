"""The score that a question has with an average passage: the zero that its other scores are counted from.

Cosines of contrastive models lie in a narrow band that differs from model to model: E5's of two unrelated texts are
about .75, MiniLM's about 0. A share of a raw score therefore means something else for each model. A share of what a
score has above its question's background means the same for all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedtune.retrieval.dense import Vectors

SAMPLE = 10_000  # passages, at even distances


def background_scores(queries: Vectors, passages: Vectors) -> NDArray[np.float32]:
    """The mean inner product of each query with the passages, fp32, shape (q,).

    `queries` (q, d) and `passages` (p, d) are float16; at most SAMPLE of the passages are read.
    """
    chosen = passages[:: max(1, len(passages) // SAMPLE)]
    average = np.asarray(chosen, dtype=np.float32).mean(axis=0)
    scores: NDArray[np.float32] = np.asarray(queries, dtype=np.float32) @ average
    return scores
