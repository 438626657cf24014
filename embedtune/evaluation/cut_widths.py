"""Measures of vectors that are cut to their first numbers, as a model trained with matryoshka_dims allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from embedtune.data.corpus import Query
from embedtune.data.passages import Passages
from embedtune.evaluation.measures import per_query_scores
from embedtune.retrieval.dense import Vectors
from embedtune.retrieval.searcher import DenseSearcher

BLOCK_ROWS = 65_536


def cut_vectors(vectors: Vectors, width: int) -> NDArray[np.float16]:
    """The first `width` numbers of each vector (n, d), float16; of length 1 where the whole vectors have length 1."""
    cut = np.empty((len(vectors), width), dtype=np.float16)
    for start in range(0, len(vectors), BLOCK_ROWS):
        whole = np.asarray(vectors[start : start + BLOCK_ROWS], dtype=np.float32)
        part = whole[:, :width]
        of_unit_length = np.abs(np.linalg.norm(whole, axis=1, keepdims=True) - 1) < 0.01
        lengths = np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        cut[start : start + BLOCK_ROWS] = np.where(of_unit_length, part / lengths, part)
    return cut


def cut_means(
    queries: Mapping[str, list[Query]],
    query_vectors: Mapping[str, Vectors],
    passage_vectors: Vectors,
    passages: Passages,
    widths: Sequence[int],
    cutoffs: list[int],
    best_of: int,
) -> dict[str, float]:
    """`<prefix><measure>_at_<width>` -> mean over the queries of a part, by exact search among cut vectors.

    `queries` and `query_vectors` (q, d) are by prefix: "" for the evaluated split, dev_ for dev. Widths of the whole
    vectors are left out.
    """
    means: dict[str, float] = {}
    for width in sorted({width for width in widths if width < passage_vectors.shape[1]}):
        shorter = cut_vectors(passage_vectors, width)
        for prefix, asked in queries.items():
            cut = cut_vectors(query_vectors[prefix], width)
            searcher = DenseSearcher(lambda _, cut=cut: cut, shorter, passages, best_of=best_of)  # type: ignore[misc]
            rankings = searcher.rank(asked, max(cutoffs))
            table = per_query_scores(asked, rankings, passages.document_ids, cutoffs)
            means |= {f"{prefix}{measure}_at_{width}": float(mean) for measure, mean in table.mean().items()}
    return means
