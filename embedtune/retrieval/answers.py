"""Answer a question with any searcher: the documents that it ranks first, each with the passage to show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune.data.corpus import Query
from embedtune.data.passages import Passages, read_texts
from embedtune.retrieval.dense import exact_scores
from embedtune.retrieval.searcher import DenseSearcher, FusedSearcher, Searcher


@dataclass(frozen=True)
class Answer:
    """A document that was found: its id, its score by the whole system, and the text of a passage of it."""

    document: str
    score: float
    passage: str


def answer(searcher: Searcher, question: str, depth: int, passages: Passages, corpus: Path) -> list[Answer]:
    """The top `depth` documents for a question; fewer where the system finds fewer.

    The passage shown is the one by which the system ranked the document or, where it does not say, the one that scores
    best for its dense part; without such a part, it is the document's first. `passages` are those of `corpus`
    (corpus.jsonl), which the searcher ranks.
    """
    query = Query("", question)
    rankings = searcher.rank([query], depth)
    found = rankings.documents[0] >= 0
    documents, scores = rankings.documents[0][found], rankings.scores[0][found]
    shown = rankings.passages[0][found].copy()
    unknown, dense = np.flatnonzero(shown < 0), _dense_searcher(searcher)
    if dense is None or not len(unknown):
        shown[unknown] = passages.first_passage[documents[unknown]]
    else:
        vectors = dense.vectors_of([query])
        shown[unknown] = [_best_passage(dense, vectors, int(document)) for document in documents[unknown]]
    texts = read_texts(corpus, passages, shown)
    ids = searcher.document_ids
    return [
        Answer(ids[document], float(score), text)
        for document, score, text in zip(documents, scores, texts, strict=True)
    ]


def _dense_searcher(searcher: Searcher) -> DenseSearcher | None:
    if isinstance(searcher, FusedSearcher):
        return _dense_searcher(searcher.first)
    return searcher if isinstance(searcher, DenseSearcher) else None


def _best_passage(dense: DenseSearcher, vectors: NDArray[np.float16], document: int) -> int:
    own = dense.passages.of_document(document)
    return int(own[exact_scores(vectors, dense.passage_vectors, own[None])[0].argmax()])
