"""The documents that are ranked for dev queries during training: a fixed pool instead of the whole corpus.

The pool holds every document that is relevant to a dev query, the top documents of the base model and of BM25 for each
dev query, and a seeded random sample of the rest. It is large enough to tell a better model from a worse one, and small
enough to be encoded again at every evaluation. It lacks documents that only a checkpoint would put first, and so favours
checkpoints over the base model a little. It picks a checkpoint; whether that is better than the base model is decided on
rankings of the whole corpus.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedtune.core.seeds import generator
from embedtune.data.corpus import Query
from embedtune.retrieval.rankings import Rankings


def pool_documents(
    queries: list[Query], rankings: list[Rankings], document_ids: list[str], random_documents: int, seed: int
) -> NDArray[np.int64]:
    """The numbers of the pool's documents, ascending, shape (n,).

    They are the relevant documents, all documents of all `rankings`, and up to `random_documents` of the others.
    """
    number_of = {document_id: number for number, document_id in enumerate(document_ids)}
    chosen = {number_of[document] for query in queries for document in query.relevant()}
    for ranked in rankings:
        chosen.update(ranked.documents[ranked.documents >= 0].tolist())
    others = np.setdiff1d(np.arange(len(document_ids)), np.fromiter(chosen, dtype=np.int64, count=len(chosen)))
    drawn = generator(seed, "dev pool").permutation(others)[:random_documents]
    return np.sort(np.concatenate([np.array(sorted(chosen), dtype=np.int64), drawn]))
