"""Searchers: whatever ranks the documents of a corpus for queries, behind one method.

A searcher is built once over a corpus and answers any queries. Dense and lexical searchers stand on their own; a fused
one takes two others. Ties are broken by document id, descending, in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from embedtune.core.errors import EmbedTuneError
from embedtune.data.corpus import Query
from embedtune.data.passages import Passages
from embedtune.models.vector_store import VectorStore
from embedtune.retrieval.bm25 import Index, rank_by_bm25
from embedtune.retrieval.dense import CandidateSearch, Vectors, rank_documents
from embedtune.retrieval.rankings import Rankings, cut, without_ignored

VectorsOf = Callable[[Sequence[Query]], Vectors]
Fuse = Callable[[Rankings, Rankings, list[str], int], Rankings]


class Searcher(Protocol):
    """Ranks documents. `document_ids` maps a document's number in the rankings to its id."""

    @property
    def document_ids(self) -> list[str]:
        """The ids of the corpus's documents, by number."""

    def rank(self, queries: Sequence[Query], depth: int) -> Rankings:
        """The top `depth` documents of each query, less those that it ignores."""


@dataclass(frozen=True)
class DenseSearcher:
    """Ranks documents by the inner product of query and passage vectors, see dense.py.

    `vectors_of` gives the vectors (q, d), float16, of queries. `passage_vectors` (p, d) are those of `passages`.
    `index` names candidates in place of exact search (None: exact). A document's score is the mean of its `best_of`
    best passages.
    """

    vectors_of: VectorsOf
    passage_vectors: Vectors
    passages: Passages
    index: CandidateSearch | None = None
    best_of: int = 1

    @property
    def document_ids(self) -> list[str]:
        """The ids of the corpus's documents, by number."""
        return self.passages.document_ids

    def rank(self, queries: Sequence[Query], depth: int) -> Rankings:
        """The top `depth` documents of each query, each with its best passage."""
        vectors, ids = self.vectors_of(queries), self.passages.document_ids

        def search(depth: int) -> Rankings:
            return rank_documents(
                vectors, self.passage_vectors, self.passages.document, ids, depth, self.index, best_of=self.best_of
            )

        return without_ignored(queries, ids, depth, search)


@dataclass(frozen=True)
class LexicalSearcher:
    """Ranks documents by BM25 over their whole texts, those of `document_ids` in that order."""

    index: Index
    document_ids: list[str]

    def rank(self, queries: Sequence[Query], depth: int) -> Rankings:
        """The top `depth` documents of each query that share a term with it."""
        return without_ignored(
            queries, self.document_ids, depth, lambda depth: rank_by_bm25(self.index, queries, self.document_ids, depth)
        )


@dataclass(frozen=True)
class FusedSearcher:
    """Fuses the rankings of two searchers of one corpus; `fuse` is one of fusion.py's functions, its options bound.

    `candidates` is how many documents of each are fused.
    """

    first: Searcher
    second: Searcher
    fuse: Fuse
    candidates: int

    @property
    def document_ids(self) -> list[str]:
        """The ids of the corpus's documents, by number."""
        return self.first.document_ids

    def rank(self, queries: Sequence[Query], depth: int) -> Rankings:
        """The top `depth` documents of each query."""
        first, second = (searcher.rank(queries, self.candidates) for searcher in (self.first, self.second))
        return self.fuse(first, second, self.document_ids, depth)


@dataclass(frozen=True)
class StoredSearcher:
    """Gives rankings that another searcher made, so that several systems can use one search.

    `rankings` maps the name of a split to its rankings, `queries` to its queries in their order.
    """

    rankings: Mapping[str, Rankings]
    queries: Mapping[str, Sequence[Query]]
    document_ids: list[str]

    def rank(self, queries: Sequence[Query], depth: int) -> Rankings:
        """The top `depth` documents of each query. Raises EmbedTuneError for queries that are not of one split."""
        return cut(self.rankings[_split_of(queries, self.queries)], depth)


def stored_vectors(store: VectorStore, queries: Mapping[str, Sequence[Query]]) -> VectorsOf:
    """The vectors of queries from a store; `queries` maps a split to its queries in their order.

    The function raises EmbedTuneError for queries that are not of one split.
    """
    return lambda asked: store.queries(_split_of(asked, queries))


def vectors_by_id(queries: Sequence[Query], vectors: Vectors) -> VectorsOf:
    """The vectors of some of `queries`, by their ids; `vectors` (q, d) are those of all, in their order."""
    row_of = {query.id: row for row, query in enumerate(queries)}
    return lambda asked: vectors[[row_of[query.id] for query in asked]]


def _split_of(asked: Sequence[Query], queries: Mapping[str, Sequence[Query]]) -> str:
    ids = [query.id for query in asked]
    split = next((name for name, known in queries.items() if [query.id for query in known] == ids), None)
    if split is None:
        raise EmbedTuneError(f"these {len(ids)} queries are not those of {', '.join(queries)}, which alone are stored")
    return split
