"""Which passage of a relevant document is the positive: its head, the base model's choice, or BM25's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray

from embedtune.corpus import Query
from embedtune.lexical import terms
from embedtune.passages import Passages, read_texts
from embedtune.search import Vectors, exact_scores

PASSAGES_AT_A_TIME = 10_000  # whose texts are held in memory

Choose = Callable[[int, int], int]  # (question number, document number) -> passage number


def positive_chooser(
    how: str, queries: list[Query], query_vectors: Vectors, passage_vectors: Vectors, passages: Passages, corpus: Path
) -> Choose:
    """A function that names the positive passage of a question's relevant document; ties go to the earlier passage.

    `how` is head, best (highest inner product with the question) or bm25. BM25 counts words over the passages of all
    documents that are relevant to some question (Robertson and Zaragoza 2009, in Lucene's form, by bm25s).
    """
    if how == "head":
        return lambda query, document: int(passages.first_passage[document])
    if how == "best":
        return lambda query, document: best_passage(query_vectors[query], passage_vectors, passages, document)
    number_of = {document_id: number for number, document_id in enumerate(passages.document_ids)}
    return _bm25_chooser([query.text for query in queries], _relevant(queries, number_of), passages, corpus)


def best_passage(query: NDArray[np.float16], passage_vectors: Vectors, passages: Passages, document: int) -> int:
    """The document's passage with the highest inner product with the query vector (d,)."""
    numbers = passages.of_document(document)
    return int(numbers[exact_scores(query[None], passage_vectors, numbers[None])[0].argmax()])


def _relevant(queries: list[Query], number_of: dict[str, int]) -> list[int]:
    return sorted({number_of[document] for query in queries for document in query.relevant()})


def _bm25_chooser(queries: list[str], documents: list[int], passages: Passages, corpus: Path) -> Choose:
    numbers = np.concatenate([passages.of_document(document) for document in documents])
    asked = {term: term for query in queries for term in terms(query)}
    indexed: list[list[str]] = []  # terms that no question has count for the length alone: one string for them all
    for start in range(0, len(numbers), PASSAGES_AT_A_TIME):
        for text in read_texts(corpus, passages, numbers[start : start + PASSAGES_AT_A_TIME]):
            indexed.append([asked.get(term, "") for term in terms(text)] or [""])
    retriever = bm25s.BM25(method="lucene")
    retriever.index(indexed, show_progress=False)
    row_of = dict(zip(documents, np.searchsorted(numbers, passages.first_passage[documents]), strict=True))

    def choose(query: int, document: int) -> int:
        known = [term for term in terms(queries[query]) if term in retriever.vocab_dict]
        first = row_of[document]
        count = len(passages.of_document(document))
        if not known:
            return int(numbers[first])
        return int(numbers[first + retriever.get_scores(known)[first : first + count].argmax()])

    return choose
