"""What train shares with the splits that a model is judged by: questions that are (nearly) equal, and documents.

Two questions are nearly equal by the Jaccard similarity of their character trigrams, computed for all pairs as sparse
matrix products: exact, and seconds for ten thousand questions against a thousand.
"""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from embedtune.corpus import Query
from embedtune.errors import EmbedTuneError

SHINGLE = 3  # characters
PAIRS_AT_A_TIME = 10_000_000  # of questions compared in one product


def leaks(splits: dict[str, list[Query]], similarity: float) -> tuple[dict[str, int], set[int]]:
    """(counts for metrics/data.json, numbers of the training questions that dev or test asks too).

    Questions are compared without case, white space, punctuation and compatibility forms (NFKC); `similarity` is the
    Jaccard similarity from which two are nearly equal, 1 for equal ones alone.
    """
    train = splits["train"]
    counts: dict[str, int] = {}
    leaking: set[int] = set()
    for split in ("dev", "test"):
        equal, near = _asked_in(train, splits[split], similarity)
        relevant = {document for query in splits[split] for document in query.relevant()}
        counts |= {
            f"train_queries_equal_to_{split}": int(equal.sum()),
            f"train_queries_nearly_equal_to_{split}": int((near & ~equal).sum()),
            f"train_queries_with_documents_of_{split}": sum(not relevant.isdisjoint(q.relevant()) for q in train),
            f"train_negatives_relevant_in_{split}": sum(len(relevant.intersection(q.negatives())) for q in train),
        }
        leaking.update(np.flatnonzero(equal | near).tolist())
    return counts, leaking


def without(train: list[Query], leaking: set[int]) -> list[Query]:
    """The training questions whose numbers are not in `leaking`. Raises EmbedTuneError when none is left."""
    kept = [query for number, query in enumerate(train) if number not in leaking]
    if not kept:
        raise EmbedTuneError(
            "params.yaml: dataset.remove_leaks: every training question is (nearly) asked in dev or test too; write "
            "false, raise dataset.leak_similarity, or give the data set other splits"
        )
    return kept


def _asked_in(train: list[Query], other: list[Query], similarity: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which questions of train stand in `other`: equal, and nearly equal; both (train,)."""
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
    """Each text's highest similarity to a row of `theirs`, (texts,)."""
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
    """Which trigrams each text has, (texts, vocabulary) of 0 and 1; `vocabulary` grows by new ones."""
    indices: list[int] = []
    ends = [0]
    for text in texts:
        found = {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}
        indices.extend(sorted(vocabulary.setdefault(shingle, len(vocabulary)) for shingle in found))
        ends.append(len(indices))
    shape = (len(texts), len(vocabulary))
    return sparse.csr_matrix((np.ones(len(indices), dtype=np.int32), indices, ends), shape=shape)
