"""BM25 (Robertson and Zaragoza 2009; bm25s's Lucene variant): an index of texts that answers any question.

The index lies on disk (see postings.py) and is memory-mapped: a search reads the postings of the question's terms, and
SciPy adds their scores up, in the order in which bm25s does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedtune.core.hashes import content_hash
from embedtune.core.json_files import read_json, write_json
from embedtune.core.progress import bar
from embedtune.data.corpus import Query
from embedtune.retrieval.postings import VOCABULARY, hashes, write_postings
from embedtune.retrieval.rankings import Rankings, rankings_of, tie_order
from embedtune.retrieval.terms import Terms, lexical_tokenizer

if TYPE_CHECKING:
    import bm25s

INDEX = "index.json"  # the tokeniser, and a hash of the other files
REMEMBERED = 200_000  # terms of earlier questions whose places are kept in memory, some 20 MB


@dataclass(frozen=True)
class Index:
    """A BM25 index of texts. `terms` cut them into terms, of which `vocabulary` (v,) uint64 holds the hashes.

    `places` remembers where in the vocabulary the terms of earlier questions stand, -1 for those of no text: questions
    share most of their terms, and to hash and search for one takes longer than to add up a short list of scores.
    """

    terms: Terms
    vocabulary: NDArray[np.uint64]
    retriever: bm25s.BM25
    places: dict[str, int] = field(default_factory=dict)

    def scores(self, question: str) -> NDArray[np.float32]:
        """The query's score with each text, float32, shape (texts,); 0 where they share no term."""
        from scipy.sparse import csc_array  # here, since it takes a while to import, and most stages search for nothing

        known, index = self._known(question), self.retriever.scores
        if not len(known):
            return np.zeros(index["num_docs"], dtype=np.float32)
        begins, ends = index["indptr"][known], index["indptr"][known + 1]
        own = [slice(begin, end) for begin, end in zip(begins, ends, strict=True)]
        columns = np.concatenate([[0], np.cumsum(ends - begins, dtype=np.int64)])
        if columns[-1] <= np.iinfo(np.int32).max:  # SciPy would copy mixed types
            columns = columns.astype(np.int32)
        by_term = csc_array(
            (
                np.concatenate([index["data"][part] for part in own]),
                np.concatenate([index["indices"][part] for part in own]),
                columns,
            ),
            shape=(index["num_docs"], len(known)),
        )
        found: NDArray[np.float32] = by_term @ np.ones(len(known), dtype=np.float32)
        return found

    def _known(self, question: str) -> NDArray[np.int64]:
        """The numbers of the question's terms in the vocabulary, in their order; terms of no text are left out."""
        asked = self.terms(question)
        found = {term: self.places.get(term, -2) for term in asked}
        new = [term for term, place in found.items() if place == -2]
        if new:
            found.update(zip(new, self._places(new).tolist(), strict=True))
            if len(self.places) > REMEMBERED:
                self.places.clear()
            self.places.update(found)
        return np.array([found[term] for term in asked if found[term] >= 0], dtype=np.int64)

    def _places(self, terms: list[str]) -> NDArray[np.int64]:
        """The number of each term in the vocabulary, -1 if no text has it."""
        asked = hashes(terms)
        if not len(self.vocabulary):
            return np.full(len(asked), -1)
        places = np.searchsorted(self.vocabulary, asked).clip(max=len(self.vocabulary) - 1)
        return np.where(self.vocabulary[places] == asked, places, -1)


def write_index(
    directory: Path, texts: Iterable[str], tokenizer: str = "bigrams", k1: float = 1.5, b: float = 0.75
) -> None:
    """Index the texts in the existing directory `directory`, within some 200 MB of memory.

    `tokenizer` is one of terms.py's; `k1` and `b` are BM25's parameters.
    """
    write_postings(directory, texts, lexical_tokenizer(tokenizer), k1, b)
    write_json(directory / INDEX, {"tokenizer": tokenizer, "hash": content_hash(directory)})


def open_bm25(directory: Path) -> Index:
    """The index that `write_index` wrote, memory-mapped. Raises EmbedTuneError if there is none."""
    import bm25s  # here, as above

    tokenizer = read_json(directory / INDEX)["tokenizer"]
    retriever = bm25s.BM25.load(directory, load_vocab=False, mmap=True, show_progress=False)
    for name in ("data", "indices", "indptr"):  # views that are plain arrays: slices of memmap objects are slow
        retriever.scores[name] = np.asarray(retriever.scores[name])
    return Index(lexical_tokenizer(tokenizer), np.asarray(np.load(directory / VOCABULARY, mmap_mode="r")), retriever)


def temporary_index(texts: Iterable[str], tokenizer: str = "bigrams", k1: float = 1.5, b: float = 0.75) -> Index:
    """An index for this process alone. Its files are in the system's temporary directory (TMPDIR) and go with it."""
    with tempfile.TemporaryDirectory() as directory:
        write_index(Path(directory), texts, tokenizer, k1, b)
        return open_bm25(Path(directory))  # on POSIX systems a mapped file can be read after it was unlinked


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
