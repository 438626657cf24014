"""Leaks: queries and documents of train that also occur in dev or test, and those of dev that occur in test.

Near-duplicate queries are found by the Jaccard similarity of their character trigrams. It is computed exactly for all
pairs as sparse matrix products, which takes seconds for ten thousand queries against a thousand.
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from embedtune.core.characters import INVISIBLE, MARKS
from embedtune.core.errors import ParameterError
from embedtune.data.corpus import Query

SHINGLE = 3  # characters
_LEFT_OUT = re.compile(rf"[^\w{MARKS}]|[_{INVISIBLE}]")  # all but letters, digits and their combining marks
PAIRS_AT_A_TIME = 10_000_000  # query pairs compared in one matrix product


def find_leaks(splits: dict[str, list[Query]], similarity: float) -> tuple[dict[str, int], dict[str, set[int]]]:
    """Return (counts, split -> positions of its queries that leak).

    Of train these are the queries that also occur, equal or nearly equal, in dev or test; of dev those in test: what is
    chosen on dev would be chosen on test. Queries are compared after NFKC normalisation and case folding, by their
    letters, combining marks and digits alone. Two queries are nearly equal if their Jaccard similarity is at least
    `similarity` (0 to 1).
    """
    counts: dict[str, int] = {}
    leaking: dict[str, set[int]] = {"train": set(), "dev": set()}
    for split, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        queries = splits[split]
        equal, near = asked_in(queries, splits[other], similarity)
        relevant = {document for query in splits[other] for document in query.relevant()}
        counts |= {
            f"{split}_queries_equal_to_{other}": int(equal.sum()),
            f"{split}_queries_nearly_equal_to_{other}": int((near & ~equal).sum()),
            f"{split}_queries_with_documents_of_{other}": sum(not relevant.isdisjoint(q.relevant()) for q in queries),
        }
        if split == "train":
            negatives = sum(len(relevant.intersection(query.negatives())) for query in queries)
            counts[f"train_negatives_relevant_in_{other}"] = negatives
        leaking[split].update(np.flatnonzero(equal | near).tolist())
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


def without_leaks(split: str, queries: list[Query], leaking: set[int]) -> list[Query]:
    """The queries of a split whose positions are not in `leaking`. Raises ParameterError when none is left."""
    kept = [query for number, query in enumerate(queries) if number not in leaking]
    if not kept:
        of, others = ("training", "dev or test") if split == "train" else (split, "test")
        raise ParameterError(
            "remove_leaks",
            f"every {of} question is (nearly) asked in {others} too; write false, raise `leak_similarity`, or "
            "give the data set other splits",
        )
    return kept


def asked_in(
    queries: list[Query], others: list[Query], similarity: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the queries occur among `others`: (equal, nearly equal), two masks of shape (queries,)."""
    texts, their_texts = ([_plain(query.text) for query in asked] for asked in (queries, others))
    asked = set(their_texts)
    equal = np.array([text in asked for text in texts], dtype=bool)
    vocabulary: dict[str, int] = {}
    theirs = _shingle_matrix(their_texts, vocabulary)
    near = np.zeros(len(queries), dtype=bool)
    at_a_time = max(1, PAIRS_AT_A_TIME // max(1, len(others)))
    for start in range(0, len(queries), at_a_time):
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
    composed = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _LEFT_OUT.sub("", composed)


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
