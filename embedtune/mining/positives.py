"""Choose the positive passages of a relevant document: the first, or those the base model, BM25 or a reranker prefers.

Every method scores all passages of the document. The passage with the highest score is the positive; ties go to the
earlier passage. Passages that score nearly as high may be positives too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from embedtune.data.corpus import Query
from embedtune.data.passages import Passages, read_texts
from embedtune.retrieval import bm25
from embedtune.retrieval.dense import Vectors, exact_scores

PASSAGES_AT_A_TIME = 10_000  # whose texts are in memory at a time

PassageScorer = Callable[[int, int], NDArray[np.floating]]  # (query number, document number) -> scores of its passages
Rerank = Callable[[str, list[str]], NDArray[np.floating]]  # (query text, passage texts) -> logits


@dataclass(frozen=True)
class Positive:
    """A chosen passage (number), and its margin over the best passage of the document that was not chosen.

    The margin is the difference of the scores over the absolute best score: 0 to 1 if no score is negative. It is None
    if all passages were chosen or the best score is 0.
    """

    passage: int
    margin: float | None


def choose_positives(scores: NDArray[np.floating], first_passage: int, most: int, close: float) -> list[Positive]:
    """Up to `most` positives of a document: the passage with the best score, then those within `close` of it.

    `scores` (n,) are the scores of the document's passages, `first_passage` is the number of its first one. `close` is
    a share of the best score. Only the best passage is chosen if the best score is 0.
    """
    order = np.argsort(-scores, kind="stable")
    best = float(scores[order[0]])
    near = [
        place for place in order[:most] if place == order[0] or (best and scores[place] >= best - close * abs(best))
    ]
    others = scores[order[len(near) :]]

    def margin(place: int) -> float | None:
        return float(scores[place] - others[0]) / abs(best) if len(others) and best else None

    return [Positive(first_passage + int(place), margin(place)) for place in near]


def passage_scorer(
    how: str,
    queries: list[Query],
    query_vectors: Vectors,
    passage_vectors: Vectors,
    background: NDArray[np.float32],
    passages: Passages,
    corpus: Path,
    rerank: Rerank | None = None,
    tokenizer: str = "bigrams",
    judged: bool = False,
) -> PassageScorer:
    """The function that scores a document's passages for a query; `how` is first, best, bm25, fused or teacher.

    It scores passages of relevant documents or, with `judged`, of all documents that a query was judged with.

    first scores passages by their position, the first highest. best is the inner product with the query
    (`query_vectors` (q, d) and `passage_vectors` (p, d), float16) above the query's `background` (q,), its score with
    an average passage. bm25 is BM25 over the passages of all documents that are relevant to some query, with the terms
    of `tokenizer` (see terms.py). fused is the sum of best and bm25, each scaled to 0 to 1 within the document.
    teacher is the sigmoid of what `rerank` gives. Raises ValueError for another `how`.
    """

    def first(query: int, document: int) -> NDArray[np.floating]:
        return -np.arange(len(passages.of_document(document)), dtype=np.float32)

    def dense(query: int, document: int) -> NDArray[np.floating]:
        scores: NDArray[np.floating] = exact_scores(
            query_vectors[[query]], passage_vectors, passages.of_document(document)[None]
        )[0]
        above: NDArray[np.floating] = scores - background[query]
        return above

    if how == "first":
        return first
    if how == "best":
        return dense
    if how == "teacher":
        assert rerank is not None, "the teacher was given"

        def reranked(query: int, document: int) -> NDArray[np.floating]:
            texts = read_texts(corpus, passages, passages.of_document(document))
            probabilities: NDArray[np.floating] = expit(rerank(queries[query].text, texts))
            return probabilities

        return reranked
    if how not in ("bm25", "fused"):
        raise ValueError(f"no way of choosing positives is called {how}")
    lexical = _bm25_scorer(queries, passages, corpus, tokenizer, judged)
    if how == "bm25":
        return lexical
    return lambda query, document: _scaled(dense(query, document)) + _scaled(lexical(query, document))


def _scaled(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Min-max scaled scores: 0 for the document's lowest, 1 for its highest; all 0 if they are equal."""
    lowest, highest = scores.min(), scores.max()
    return (scores - lowest) / (highest - lowest) if highest > lowest else np.zeros_like(scores)


def _bm25_scorer(queries: list[Query], passages: Passages, corpus: Path, tokenizer: str, judged: bool) -> PassageScorer:
    number_of = {document_id: number for number, document_id in enumerate(passages.document_ids)}
    documents = sorted({number_of[d] for query in queries for d in (query.judgments if judged else query.relevant())})
    numbers = np.concatenate([passages.of_document(document) for document in documents])

    def texts() -> Iterator[str]:
        for start in range(0, len(numbers), PASSAGES_AT_A_TIME):
            yield from read_texts(corpus, passages, numbers[start : start + PASSAGES_AT_A_TIME])

    index = bm25.temporary_index(texts(), tokenizer)
    row_of = dict(zip(documents, np.searchsorted(numbers, passages.first_passage[documents]), strict=True))

    def score(query: int, document: int) -> NDArray[np.floating]:
        first = row_of[document]
        return index.scores(queries[query].text)[first : first + len(passages.of_document(document))]

    return score
