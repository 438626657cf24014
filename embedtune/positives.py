"""Which passages of a relevant document are positives: its head, the base model's choice, BM25's, or a reranker's.

A way of choosing gives every passage of the document a score; the highest is the positive, ties go to the earlier
passage, and passages that score nearly as high may be positives too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune import bm25
from embedtune.corpus import Query
from embedtune.lexical import terms
from embedtune.passages import Passages, read_texts
from embedtune.search import Vectors, exact_scores

PASSAGES_AT_A_TIME = 10_000  # whose texts are held in memory

Score = Callable[[int, int], NDArray[np.floating]]  # (question number, document number) -> its passages' scores
Rerank = Callable[[str, list[str]], NDArray[np.floating]]  # (question, texts) -> their scores


@dataclass(frozen=True)
class Positive:
    """A passage chosen, and by how much its score is above that of the best passage not chosen (None: there is none).

    The margin is a share of the best score, 0 to 1 where no score is below 0.
    """

    passage: int
    margin: float | None


def choose(scores: NDArray[np.floating], first_passage: int, most: int, close: float) -> list[Positive]:
    """Up to `most` positives of a document with these passage scores: the best, and those within `close` of it.

    `close` is a share of the best score. The best comes first.
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


def scorer(
    how: str,
    queries: list[Query],
    query_vectors: Vectors,
    passage_vectors: Vectors,
    passages: Passages,
    corpus: Path,
    rerank: Rerank | None = None,
) -> Score:
    """The function that scores a document's passages for a question; `how` is head, best, bm25, fused or reranker.

    head scores the first passage alone; best by inner product with the question; bm25 counts words over the passages of
    all documents that are relevant to some question; fused adds the last two, each scaled to 0 to 1 in the document;
    reranker asks `rerank` (question, texts).
    """

    def head(query: int, document: int) -> NDArray[np.floating]:
        return -np.arange(len(passages.of_document(document)), dtype=np.float32)

    def dense(query: int, document: int) -> NDArray[np.floating]:
        scores: NDArray[np.floating] = exact_scores(
            query_vectors[[query]], passage_vectors, passages.of_document(document)[None]
        )[0]
        return scores

    if how == "head":
        return head
    if how == "best":
        return dense
    if how == "reranker":
        assert rerank is not None, "the reranker was given"

        def reranked(query: int, document: int) -> NDArray[np.floating]:
            return rerank(queries[query].text, read_texts(corpus, passages, passages.of_document(document)))

        return reranked
    lexical = _bm25_scorer(queries, passages, corpus)
    if how == "bm25":
        return lexical
    return lambda query, document: _scaled(dense(query, document)) + _scaled(lexical(query, document))


def _scaled(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """Scores scaled to 0 (the document's lowest) and 1 (its highest)."""
    lowest, highest = scores.min(), scores.max()
    return (scores - lowest) / (highest - lowest) if highest > lowest else np.zeros_like(scores)


def _bm25_scorer(queries: list[Query], passages: Passages, corpus: Path) -> Score:
    number_of = {document_id: number for number, document_id in enumerate(passages.document_ids)}
    documents = sorted({number_of[document] for query in queries for document in query.relevant()})
    numbers = np.concatenate([passages.of_document(document) for document in documents])

    def texts() -> Iterator[str]:
        for start in range(0, len(numbers), PASSAGES_AT_A_TIME):
            yield from read_texts(corpus, passages, numbers[start : start + PASSAGES_AT_A_TIME])

    index = bm25.Index(texts(), (query.text for query in queries), terms)
    row_of = dict(zip(documents, np.searchsorted(numbers, passages.first_passage[documents]), strict=True))

    def score(query: int, document: int) -> NDArray[np.floating]:
        first = row_of[document]
        return index.scores(queries[query].text)[first : first + len(passages.of_document(document))]

    return score
