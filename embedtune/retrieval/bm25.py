"""BM25 (Robertson and Zaragoza 2009; bm25s's Lucene variant) for queries that are known before the corpus is read.

The index keeps only the query terms of each text, and the text's length. This saves memory, but the index cannot answer
other queries.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import bm25s
import numpy as np
from bm25s.tokenization import Tokenized
from numpy.typing import NDArray

from embedtune.core.progress import bar
from embedtune.data.corpus import Query
from embedtune.retrieval.rankings import Rankings, rankings_of, tie_order
from embedtune.retrieval.terms import Terms

NOT_ASKED = 0  # the term id of every term that occurs in no query


class _Texts:
    """The term ids of each text, as bm25s reads them. A term that occurs in no query becomes NOT_ASKED.

    Each text is stored as its distinct query terms and their counts. This takes one gigabyte where the full term lists
    would take many.
    """

    def __init__(self) -> None:
        self.asked, self.counts, self.ends, self.lengths = array("I"), array("I"), array("Q", [0]), array("I")

    def add(self, asked: Counter[int], length: int) -> None:
        self.asked.extend(asked.keys())
        self.counts.extend(asked.values())
        self.ends.append(len(self.asked))
        self.lengths.append(max(1, length))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> list[int]:
        if number >= len(self):
            raise IndexError(number)
        own = slice(self.ends[number], self.ends[number + 1])
        asked: list[int] = np.repeat(self.asked[own], self.counts[own]).tolist()
        return asked + [NOT_ASKED] * (self.lengths[number] - len(asked))

    def __iter__(self) -> Iterator[list[int]]:
        return (self[number] for number in range(len(self)))


class Index:
    """A BM25 index of texts for known queries. `terms` tokenises both; `k1` and `b` are BM25's parameters."""

    def __init__(
        self, texts: Iterable[str], questions: Iterable[str], terms: Terms, k1: float = 1.5, b: float = 0.75
    ) -> None:
        self.terms = terms
        self.vocabulary: dict[str, int] = {"": NOT_ASKED}
        for question in questions:
            for term in terms(question):
                self.vocabulary.setdefault(term, len(self.vocabulary))
        indexed = _Texts()
        for text in texts:
            found = terms(text)
            indexed.add(Counter(self.vocabulary[term] for term in found if term in self.vocabulary), len(found))
        self.count = len(indexed)
        self.retriever = bm25s.BM25(method="lucene", k1=k1, b=b, csc_backend="scipy")
        self.retriever.index(Tokenized(ids=indexed, vocab=self.vocabulary), show_progress=False)

    def scores(self, question: str) -> NDArray[np.float32]:
        """The query's score with each text, float32, shape (texts,); 0 where they share no term.

        Raises KeyError for a term that none of the queries given to the constructor has.
        """
        asked = [self.vocabulary[term] for term in self.terms(question)]
        scores: NDArray[np.float32] = self.retriever.get_scores_from_ids(asked)
        return scores


def rank_by_bm25(index: Index, queries: Sequence[Query], document_ids: list[str], depth: int) -> Rankings:
    """The top `depth` documents of each query by BM25. `index` holds the texts of `document_ids`, in that order.

    Documents that share no term with the query are not ranked. `passages` of the result are -1.
    """
    order = tie_order(document_ids)
    rows = [_best(index.scores(query.text), order, depth) for query in bar(queries, unit=" questions", desc="bm25")]
    return rankings_of(rows, min(depth, len(document_ids)))


def _best(scores: NDArray[np.float32], order: NDArray[np.int64], depth: int) -> tuple[NDArray[Any], NDArray[Any]]:
    found = np.flatnonzero(scores > 0)
    if len(found) > depth:
        lowest = np.partition(scores[found], -depth)[-depth]
        found = found[scores[found] >= lowest]
    found = found[np.lexsort((order[found], -scores[found]))][:depth]
    return found, scores[found]
