"""The documents that dev questions are ranked among while training: a fixed pool, not the whole corpus.

It holds every document that is relevant to a dev question, the base model's best for each, and a seeded sample of the
rest: enough that a better model ranks better, and small enough to be encoded anew at every checkpoint.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedtune.corpus import Query
from embedtune.search import Rankings
from embedtune.seeds import generator


def pool_documents(
    queries: list[Query], rankings: Rankings, document_ids: list[str], random_documents: int, seed: int
) -> NDArray[np.int64]:
    """Numbers of the pool's documents, ascending: relevant ones, all of `rankings`, and a sample of the others."""
    number_of = {document_id: number for number, document_id in enumerate(document_ids)}
    chosen = {number_of[document] for query in queries for document in query.relevant()}
    chosen.update(rankings.documents[rankings.documents >= 0].tolist())
    others = np.setdiff1d(np.arange(len(document_ids)), np.fromiter(chosen, dtype=np.int64, count=len(chosen)))
    drawn = generator(seed, "dev pool").permutation(others)[:random_documents]
    return np.sort(np.concatenate([np.array(sorted(chosen), dtype=np.int64), drawn]))
