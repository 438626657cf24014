"""Re-order the first documents of a ranking by a cross-encoder's scores of query and passage.

A document is read by its passages that an embedding model scores highest, and its score is that of its best one: long
documents do not fit into a cross-encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune.data.corpus import Query
from embedtune.data.passages import Passages, read_texts
from embedtune.models.cross_encoder import CrossEncoder
from embedtune.retrieval.dense import Vectors, exact_scores
from embedtune.retrieval.rankings import Rankings, cut, tie_order
from embedtune.retrieval.searcher import Searcher, VectorsOf


@dataclass(frozen=True)
class PairsToScore:
    """Documents of queries with the passages by which they are read, tokenised for one cross-encoder.

    `documents` (q, m) are numbers, -1 where there is none. `queries`, `columns` and `passages` (n,) say of each pair
    whose it is (`documents[query, column]`) and which passage (number) is read. `texts` are the token ids of the
    distinct texts, `places` (n,) which of them a pair has. `query_tokens` are those of the queries.
    """

    documents: NDArray[np.int32]
    queries: NDArray[np.int64]
    columns: NDArray[np.int64]
    passages: NDArray[np.int64]
    places: NDArray[np.int64]
    texts: list[NDArray[np.int64]]
    query_tokens: list[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.queries)

    def some(self, pairs: NDArray[np.integer]) -> PairsToScore:
        """The pairs of these numbers alone."""
        return replace(
            self,
            queries=self.queries[pairs],
            columns=self.columns[pairs],
            passages=self.passages[pairs],
            places=self.places[pairs],
        )

    def lengths(self, model: CrossEncoder, max_len: int) -> NDArray[np.int64]:
        """The number of tokens of each pair (n,), cut to `max_len`."""
        queries, texts = (
            np.array([len(t) for t in tokens], dtype=np.int64) for tokens in (self.query_tokens, self.texts)
        )
        return model.frame.lengths(queries[self.queries], texts[self.places], max_len)

    def scores(
        self, model: CrossEncoder, *, max_len: int, batch_tokens: int, description: str = "rerank"
    ) -> NDArray[np.float32]:
        """The logit of each pair (n,); see `CrossEncoder.scores`."""
        pairs = np.stack([self.queries, self.places], axis=1)
        distinct, place = np.unique(pairs, axis=0, return_inverse=True)
        found = model.scores(
            [(query, text) for query, text in distinct.tolist()],
            self.query_tokens,
            self.texts,
            max_len=max_len,
            batch_tokens=batch_tokens,
            description=description,
        )
        return found[place.reshape(-1)]

    def best(self, scores: NDArray[np.float32]) -> Rankings:
        """The documents in their order, each with its best passage and its score, by the `scores` (n,) of the pairs."""
        found = Rankings(
            self.documents,
            np.full(self.documents.shape, -1, dtype=np.int64),
            np.full(self.documents.shape, -np.inf, dtype=np.float32),
        )
        for pair in np.argsort(-scores, kind="stable")[::-1]:  # the best comes last; of equal ones, the first
            place = self.queries[pair], self.columns[pair]
            found.passages[place], found.scores[place] = self.passages[pair], scores[pair]
        return found


@dataclass(frozen=True)
class PassageReader:
    """Which passages of a document are read: the `per_document` that an embedding model scores highest.

    `vectors_of` and `passage_vectors` (p, d) are that model's, `corpus` is the file with the documents' texts.
    """

    passages: Passages
    corpus: Path
    vectors_of: VectorsOf
    passage_vectors: Vectors
    per_document: int

    def pairs(self, model: CrossEncoder, queries: Sequence[Query], documents: NDArray[np.int32]) -> PairsToScore:
        """The pairs of queries and documents (q, m), tokenised for `model`."""
        rows = [
            (query, column, passage)
            for query, column in np.argwhere(documents >= 0).tolist()
            for passage in self.passages.of_document(int(documents[query, column])).tolist()
        ]
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        table = self._best(queries, documents, table)
        hashes = self.passages.text_hash[table[:, 2]]  # copies of a text are read once, and score alike
        _, first, places = np.unique(hashes, return_index=True, return_inverse=True)
        numbers = table[first, 2]
        return PairsToScore(
            documents,
            table[:, 0],
            table[:, 1],
            table[:, 2],
            places.reshape(-1),
            model.tokenize(read_texts(self.corpus, self.passages, numbers)),
            model.tokenize([query.text for query in queries]),
        )

    def _best(
        self, queries: Sequence[Query], documents: NDArray[np.int32], table: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The rows (query, column, passage) of the passages that are read."""
        most = np.bincount(table[:, 0] * documents.shape[1] + table[:, 1]) if len(table) else np.zeros(1, int)
        if most.max() <= self.per_document:
            return table
        vectors = self.vectors_of(queries)
        kept = []
        for query in range(len(queries)):
            own = np.flatnonzero(table[:, 0] == query)
            scores = exact_scores(vectors[[query]], self.passage_vectors, table[own, 2][None])[0]
            order = np.lexsort((table[own, 2], -scores, table[own, 1]))  # by column, then by score
            columns = table[own[order], 1]
            rank = np.arange(len(columns)) - np.searchsorted(columns, columns)
            kept.append(own[np.sort(order[rank < self.per_document])])
        best: NDArray[np.int64] = table[np.concatenate(kept)]
        return best


@dataclass(frozen=True)
class RerankedSearcher:
    """Re-orders the top `depth` documents of `candidates` by a cross-encoder; what comes after them keeps its order."""

    candidates: Searcher
    reader: PassageReader
    model: CrossEncoder
    depth: int
    max_len: int
    batch_tokens: int

    @property
    def document_ids(self) -> list[str]:
        """The ids of the corpus's documents, by number."""
        return self.candidates.document_ids

    def rank(self, queries: Sequence[Query], depth: int) -> Rankings:
        """The top `depth` documents of each query."""
        found = self.candidates.rank(queries, max(depth, self.depth))
        return cut(reordered(found, self.read(queries, found.documents[:, : self.depth]), self.document_ids), depth)

    def read(self, queries: Sequence[Query], documents: NDArray[np.int32]) -> Rankings:
        """Documents (q, m) in the order given, with the cross-encoder's scores."""
        pairs = self.reader.pairs(self.model, queries, documents)
        return pairs.best(pairs.scores(self.model, max_len=self.max_len, batch_tokens=self.batch_tokens))


def by_score(read: Rankings, document_ids: list[str]) -> Rankings:
    """The documents best first; ties by id, descending."""
    order = np.lexsort(
        (tie_order(document_ids, read.documents[read.documents >= 0])[read.documents], -read.scores), axis=1
    )
    return Rankings(
        np.take_along_axis(read.documents, order, 1),
        np.take_along_axis(read.passages, order, 1),
        np.take_along_axis(read.scores, order, 1),
    )


def reordered(found: Rankings, read: Rankings, document_ids: list[str]) -> Rankings:
    """The ranking `found` with its first documents, which were `read`, by their scores.

    The documents after them follow in their order, each scored 1 below the one before.
    """
    depth = read.documents.shape[1]
    head, rest = by_score(read, document_ids), found.documents[:, depth:]
    lowest = np.min(np.where(read.documents >= 0, read.scores, np.inf), axis=1, keepdims=True)
    below = np.where(rest >= 0, lowest - np.arange(1, rest.shape[1] + 1), -np.inf).astype(np.float32)
    return Rankings(
        np.concatenate([head.documents, rest], axis=1),
        np.concatenate([head.passages, found.passages[:, depth:]], axis=1),
        np.concatenate([head.scores, below], axis=1),
    )


def with_passages(found: Rankings, query_vectors: Vectors, passage_vectors: Vectors, passages: Passages) -> Rankings:
    """The ranking with the best passage of each document whose passage is unknown, by vectors (q, d) and (p, d)."""
    filled = found.passages.copy()
    for query, column in np.argwhere((found.passages < 0) & (found.documents >= 0)):
        own = passages.of_document(int(found.documents[query, column]))
        scores = exact_scores(query_vectors[[query]], passage_vectors, own[None])[0] if len(own) > 1 else np.zeros(1)
        filled[query, column] = own[np.argmax(scores)]
    return Rankings(found.documents, filled, found.scores)


def in_order_of(found: NDArray[np.int32], documents: NDArray[np.int32]) -> NDArray[np.int32]:
    """Each query's `documents` (q, m) in the order in which they are `found` (q, n); those that are not come last."""
    rows = []
    for ranked, own in zip(found, documents, strict=True):
        place = {int(document): place for place, document in enumerate(ranked.tolist())}
        rows.append(sorted(own.tolist(), key=lambda document: (document < 0, place.get(document, len(place)))))
    return np.array(rows, dtype=np.int32).reshape(documents.shape)


def judged_documents(queries: Sequence[Query], document_ids: list[str]) -> NDArray[np.int32]:
    """The numbers of each query's judged documents (q, m), -1 where there are fewer."""
    number_of = {document_id: number for number, document_id in enumerate(document_ids)}
    rows = [[number_of[document] for document in query.judgments] for query in queries]
    most = max((len(row) for row in rows), default=0)
    return np.array([row + [-1] * (most - len(row)) for row in rows], dtype=np.int32).reshape(len(rows), most)
