"""Training groups of a cross-encoder: a query with some of its documents, tokenised once and joined as pairs.

Which documents a query gets is a function of (seed, epoch, query), as for an embedder (see training_data.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from embedtune.core.errors import ParameterError
from embedtune.core.seeds import generator
from embedtune.mining.mined_rows import MinedRow
from embedtune.models.cross_encoder import CrossEncoder
from embedtune.models.padding import pad
from embedtune.models.pair_tokens import check_pair_length


@dataclass(frozen=True)
class JudgedQuery:
    """A query with passages (numbers) to learn, the relevance of each and how much it counts."""

    query_id: str
    query: str
    passages: list[int] = field(default_factory=list)
    rels: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, passage: int, rel: float, weight: float = 1.0) -> None:
        """One passage more."""
        self.passages.append(passage)
        self.rels.append(rel)
        self.weights.append(weight)


def judged_queries(rows: Iterable[MinedRow]) -> list[JudgedQuery]:
    """The queries of mined rows: a scored pair has its own relevance, a positive 1, a negative 0."""
    queries: dict[str, JudgedQuery] = {}
    for row in rows:
        query = queries.setdefault(row.query_id, JudgedQuery(row.query_id, row.query))
        for passage in row.positives:
            query.add(passage, 1.0 if row.rel is None else row.rel, row.weight)
        for passage in row.negatives:
            query.add(passage, 0.0)
    return list(queries.values())


class PairExample(TypedDict):
    """A query's group: (query number, passage number) of its pairs, and the relevance and weight of each."""

    query_id: str
    pairs: list[tuple[int, int]]
    rels: list[float]
    weights: list[float]


class PairArrays(TypedDict):
    """A PairBatch whose tensors are NumPy arrays of the same shapes and dtypes."""

    query_ids: list[str]
    pairs: dict[str, NDArray[np.int64]]
    groups: NDArray[np.int64]
    rels: NDArray[np.float32]
    weights: NDArray[np.float32]


class PairBatch(TypedDict):
    """B queries and P pairs of theirs.

    `pairs` (P, tokens) are what the model takes, int64: `input_ids`, `attention_mask` and, for a model that knows them,
    `token_type_ids`. `groups` (P,) has the number of each pair's query in the batch, `rels` (P,) and `weights` (P,),
    fp32, how relevant its document is and how much that counts.
    """

    query_ids: list[str]
    pairs: dict[str, torch.Tensor]
    groups: torch.Tensor
    rels: torch.Tensor
    weights: torch.Tensor


class PairSet:
    """Groups of at most `group_size` passages of a query; the key of an item is epoch * len + query number.

    A group has one of the query's most relevant passages, one that is less relevant, and others at random.
    `texts` maps the number of a passage to its text. Pairs are cut to `max_len` tokens (see pair_tokens.py).

    Raises ParameterError if no query has two passages of different relevance, while `compared` says that the objective
    compares those, and if `max_len` leaves no room for a document or exceeds what the model reads.
    """

    length_key = "max_len"

    def __init__(
        self,
        queries: list[JudgedQuery],
        texts: Mapping[int, str],
        model: CrossEncoder,
        *,
        group_size: int,
        max_len: int,
        seed: int,
        compared: bool,
    ) -> None:
        check_pair_length(model.frame, max_len, model.max_tokens)
        useful = [query for query in queries if len(set(query.rels)) > 1] if compared else queries
        if not queries:
            raise ParameterError("rows", "there are no training questions with documents to learn; bring some")
        if not useful:
            raise ParameterError(
                "objective",
                "no training question has two documents of different relevance, which this objective compares; write "
                "`mse` or `bce`, or mine negatives (`negatives`)",
            )
        self.queries, self.left_out = useful, len(queries) - len(useful)
        self.frame, self.typed = model.frame, model.typed
        self.group_size, self.max_len, self.seed = group_size, max_len, seed
        numbers = sorted({passage for query in self.queries for passage in query.passages})
        self.place = {number: place for place, number in enumerate(numbers)}
        self.passage_tokens = model.tokenize([texts[number] for number in numbers])
        self.query_tokens = model.tokenize([query.query for query in self.queries])

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, key: int) -> PairExample:
        epoch, number = divmod(key, len(self.queries))
        query = self.queries[number]
        chosen = self._drawn(query, generator(self.seed, "group", epoch, number))
        return {
            "query_id": query.query_id,
            "pairs": [(number, query.passages[i]) for i in chosen],
            "rels": [query.rels[i] for i in chosen],
            "weights": [query.weights[i] for i in chosen],
        }

    def _drawn(self, query: JudgedQuery, rng: np.random.Generator) -> list[int]:
        order = rng.permutation(len(query.rels)).tolist()
        best = max(query.rels)
        first = next(i for i in order if query.rels[i] == best)
        less = next((i for i in order if query.rels[i] < best), first)  # so that there is something to compare
        others = [i for i in order if i not in (first, less)]
        return list(dict.fromkeys([first, less, *others]))[: self.group_size]

    def collate(self, groups: list[PairExample], pad_id: int, multiple_of: int) -> PairArrays:
        """The batch of some items; pairs are padded to a multiple of `multiple_of` tokens."""
        joined = [
            (self.query_tokens[query], self.passage_tokens[self.place[passage]], self.max_len)
            for group in groups
            for query, passage in group["pairs"]
        ]
        ids, mask = pad([self.frame.ids(*pair) for pair in joined], pad_id, multiple_of)
        features = {"input_ids": ids, "attention_mask": mask}
        if self.typed:
            features["token_type_ids"] = pad([self.frame.token_types(*pair) for pair in joined], 0, multiple_of)[0]
        return {
            "query_ids": [group["query_id"] for group in groups],
            "pairs": features,
            "groups": np.repeat(np.arange(len(groups)), [len(group["pairs"]) for group in groups]),
            "rels": np.array([rel for group in groups for rel in group["rels"]], dtype=np.float32),
            "weights": np.array([weight for group in groups for weight in group["weights"]], dtype=np.float32),
        }

    def longest(self) -> int:
        """The number of tokens of the longest pair, special tokens included."""
        return int(self.lengths().max())

    def most_tokens(self) -> int:
        """The most tokens that a query's group may have."""
        return self.group_size * self.longest()

    def mean_tokens(self) -> float:
        """The mean number of tokens of a query's group."""
        of_group = [
            self._pair_lengths(number).mean() * min(self.group_size, len(query.passages))
            for number, query in enumerate(self.queries)
        ]
        return float(np.mean(of_group))

    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each query's longest pair (n,)."""
        return np.array([self._pair_lengths(number).max() for number in range(len(self.queries))], dtype=np.int64)

    def _pair_lengths(self, number: int) -> NDArray[np.int64]:
        documents = np.array([len(self.passage_tokens[self.place[p]]) for p in self.queries[number].passages])
        return self.frame.lengths(np.full(len(documents), len(self.query_tokens[number])), documents, self.max_len)
