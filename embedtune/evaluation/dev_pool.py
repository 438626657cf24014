"""The documents that are ranked for dev queries during training, in place of the whole corpus.

The fixed part of the pool holds every document that is relevant to a dev query, the base model's top documents for each
dev query, and a seeded random sample of the rest. It favours any other model: it lacks the documents that only this one
would wrongly put first. So a checkpoint's own top documents are added to it, as its queries find them among the base
model's vectors of the whole corpus: the passages need not be encoded again to be found.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embedtune.core.seeds import generator
from embedtune.data.corpus import Query
from embedtune.data.passages import Passages
from embedtune.retrieval.dense import Vectors, rank_documents
from embedtune.retrieval.rankings import Rankings, without_ignored


def pool_documents(
    queries: list[Query], rankings: Rankings, document_ids: list[str], random_documents: int, seed: int
) -> NDArray[np.int64]:
    """The numbers of the pool's documents, ascending, shape (n,).

    They are the documents with a judgment above 0, all documents of `rankings`, and up to `random_documents` of the
    others.
    """
    number_of = {document_id: number for number, document_id in enumerate(document_ids)}
    chosen = {number_of[document] for query in queries for document in query.graded()}
    chosen.update(rankings.documents[rankings.documents >= 0].tolist())
    others = np.setdiff1d(np.arange(len(document_ids)), np.fromiter(chosen, dtype=np.int64, count=len(chosen)))
    drawn = generator(seed, "dev pool").permutation(others)[:random_documents]
    return np.sort(np.concatenate([np.array(sorted(chosen), dtype=np.int64), drawn]))


def best_documents(
    query_vectors: Vectors, passage_vectors: Vectors, passages: Passages, top: int, queries: list[Query]
) -> NDArray[np.integer]:
    """The numbers (q, top) of the best documents for each query vector (q, d), -1 where there are fewer.

    What a query ignores is left out. The search runs on the CPU: training holds the GPU's memory.
    """
    ids = passages.document_ids

    def search(depth: int) -> Rankings:
        return rank_documents(query_vectors, passage_vectors, passages.document, ids, depth, use_gpu=False)

    return without_ignored(queries, ids, top, search).documents


def found_by_queries(
    passage_vectors: Vectors, passages: Passages, top: int, queries: list[Query]
) -> Callable[[Vectors], NDArray[np.int64]]:
    """The function that gives the numbers of the `top` documents of each query vector (q, d), by inner product.

    `passage_vectors` (p, d) are the base model's.
    """

    def documents(query_vectors: Vectors) -> NDArray[np.int64]:
        found = best_documents(query_vectors, passage_vectors, passages, top, queries)
        return np.unique(found[found >= 0]).astype(np.int64)

    return documents
