"""BM25 (Robertson and Zaragoza 2009, in Lucene's form, by bm25s) over texts of which only the asked terms matter.

Questions are known before the corpus is read, so that of each text only the terms that some question has are kept,
and its length.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator

import bm25s
import numpy as np
from bm25s.tokenization import Tokenized
from numpy.typing import NDArray

from embedtune.lexical import Terms

NOT_ASKED = 0  # the term that stands for all terms no question has


class _Texts:
    """The texts' terms as bm25s reads them, one text after the other: what is not asked comes out as NOT_ASKED.

    Held are each text's asked terms, once each, with their counts: a gigabyte where the terms themselves would be many.
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
    """An index of texts for known questions. `k1` and `b` are BM25's."""

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
        """The question's score with each text, shape (texts,); 0 where they share no term."""
        asked = [self.vocabulary[term] for term in self.terms(question)]
        scores: NDArray[np.float32] = self.retriever.get_scores_from_ids(asked)
        return scores
