"""Train-test leaks: training queries and documents that also occur in dev or test.

Near-duplicate queries are found by the Jaccard similarity of their character trigrams. It is computed exactly for all
pairs as sparse matrix products, which takes seconds for ten thousand queries against a thousand.
"""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from embedtune.core.errors import ParameterError
from embedtune.data.corpus import Query

SHINGLE = 3  # characters
PAIRS_AT_A_TIME = 10_000_000  # query pairs compared in one matrix product


def find_leaks(splits: dict[str, list[Query]], similarity: float) -> tuple[dict[str, int], set[int]]:
    """Return (counts, positions in train of the queries that also occur, equal or nearly equal, in dev or test).

    Queries are compared after NFKC normalisation and case folding, by their letters and digits alone. Two queries are
    nearly equal if their Jaccard similarity is at least `similarity` (0 to 1).
    """
    train = splits["train"]
    counts: dict[str, int] = {}
    leaking: set[int] = set()
    for split in ("dev", "test"):
        equal, near = _duplicates_in(train, splits[split], similarity)
        relevant = {document for query in splits[split] for document in query.relevant()}
        counts |= {
            f"train_queries_equal_to_{split}": int(equal.sum()),
            f"train_queries_nearly_equal_to_{split}": int((near & ~equal).sum()),
            f"train_queries_with_documents_of_{split}": sum(not relevant.isdisjoint(q.relevant()) for q in train),
            f"train_negatives_relevant_in_{split}": sum(len(relevant.intersection(q.negatives())) for q in train),
        }
        leaking.update(np.flatnonzero(equal | near).tolist())
    return counts, leaking


def trained_document_counts(splits: dict[str, list[Query]]) -> dict[str, float]:
    """How many queries of dev and test have a relevant document that a training query has too, and their share."""
    trained = {document for query in splits["train"] for document in query.relevant()}
    counts: dict[str, float] = {}
    for split in ("dev", "test"):
        having = sum(not trained.isdisjoint(query.relevant()) for query in splits[split])
        counts[f"{split}_queries_with_trained_documents"] = having
        counts[f"{split}_share_with_trained_documents"] = having / max(1, len(splits[split]))
    return counts


def without_leaks(train: list[Query], leaking: set[int]) -> list[Query]:
    """The training queries whose positions are not in `leaking`. Raises ParameterError when none is left."""
    kept = [query for number, query in enumerate(train) if number not in leaking]
    if not kept:
        raise ParameterError(
            "remove_leaks",
            "every training question is (nearly) asked in dev or test too; write false, raise `leak_similarity`, or "
            "give the data set other splits",
        )
    return kept


def _duplicates_in(
    train: list[Query], other: list[Query], similarity: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which queries of train occur in `other`: (equal, nearly equal), two masks of shape (train,)."""
    texts, others = ([_plain(query.text) for query in queries] for queries in (train, other))
    asked = set(others)
    equal = np.array([text in asked for text in texts], dtype=bool)
    vocabulary: dict[str, int] = {}
    theirs = _shingle_matrix(others, vocabulary)
    near = np.zeros(len(train), dtype=bool)
    at_a_time = max(1, PAIRS_AT_A_TIME // max(1, len(others)))
    for start in range(0, len(train), at_a_time):
        rows = slice(start, start + at_a_time)
        near[rows] = _best_jaccard(texts[rows], theirs, vocabulary) >= similarity
    return equal, near


def _best_jaccard(texts: list[str], theirs: sparse.csr_matrix, vocabulary: dict[str, int]) -> NDArray[np.float64]:
    """Each text's highest Jaccard similarity to a row of `theirs`, shape (texts,)."""
    ours = _shingle_matrix(texts, vocabulary)
    theirs = sparse.csr_matrix((theirs.data, theirs.indices, theirs.indptr), shape=(theirs.shape[0], ours.shape[1]))
    common = (ours @ theirs.T).tocoo()
    sizes, their_sizes = (np.diff(matrix.indptr) for matrix in (ours, theirs))
    best = np.zeros(len(texts))
    np.maximum.at(best, common.row, common.data / (sizes[common.row] + their_sizes[common.col] - common.data))
    return best


def _plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def _shingle_matrix(texts: list[str], vocabulary: dict[str, int]) -> sparse.csr_matrix:
    """The trigrams of each text as a 0/1 matrix (texts, vocabulary). New trigrams are added to `vocabulary`."""
    indices: list[int] = []
    ends = [0]
    for text in texts:
        found = {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}
        indices.extend(sorted(vocabulary.setdefault(shingle, len(vocabulary)) for shingle in found))
        ends.append(len(indices))
    shape = (len(texts), len(vocabulary))
    return sparse.csr_matrix((np.ones(len(indices), dtype=np.int32), indices, ends), shape=shape)
