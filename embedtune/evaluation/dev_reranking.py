"""Evaluation of a cross-encoder during training: how it orders some documents of each dev query."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from embedtune.compute import distributed
from embedtune.data.corpus import Query
from embedtune.evaluation.measures import per_query_scores
from embedtune.models.cross_encoder import CrossEncoder
from embedtune.retrieval.rankings import Rankings
from embedtune.retrieval.rerank import PairsToScore, by_score


@dataclass(frozen=True)
class RerankingSet:
    """Dev queries with documents to order, best first by the system that found them.

    `pairs` are tokenised for `model`, and cut to `max_len` tokens.
    """

    queries: list[Query]
    pairs: PairsToScore
    document_ids: list[str]
    model: CrossEncoder
    max_len: int

    @property
    def top(self) -> int:
        """The most documents of a query."""
        return int(self.pairs.documents.shape[1])

    def of_top(self, top: int) -> RerankingSet:
        """The set with the first `top` documents of each query."""
        kept = self.pairs.some(np.flatnonzero(self.pairs.columns < top))
        return replace(self, pairs=replace(kept, documents=kept.documents[:, :top]))

    def tokens(self) -> int:
        """The number of tokens that an evaluation reads, padding excluded."""
        return int(self.pairs.lengths(self.model, self.max_len).sum())

    def score(self, model: CrossEncoder, *, batch_tokens: int, cutoffs: list[int]) -> pd.DataFrame:
        """Per-query measures of the model's current weights: one row per query, columns such as `ndcg@10`.

        `batch_tokens` is the number of tokens in one forward pass. Each process scores its part of the pairs, and every
        process gets the table. The model's training or evaluation mode is restored.
        """
        mine = np.array_split(np.arange(len(self.pairs)), distributed.world_size())[distributed.rank()]
        own = self.pairs.some(mine).scores(model, max_len=self.max_len, batch_tokens=batch_tokens, description="dev")
        scores = np.concatenate(distributed.all_gather_objects(own))
        ranked = by_score(self.pairs.best(scores), self.document_ids)
        return self._measured(ranked, cutoffs)

    def means_as_found(self, cutoffs: list[int]) -> dict[str, float]:
        """Measure -> mean of the documents in the order in which they were found."""
        documents = self.pairs.documents
        falling = np.where(documents >= 0, -np.arange(documents.shape[1]), -np.inf).astype(np.float32)
        found = Rankings(documents, np.full(documents.shape, -1, dtype=np.int64), falling)
        return {str(measure): float(mean) for measure, mean in self._measured(found, cutoffs).mean().items()}

    def _measured(self, ranked: Rankings, cutoffs: list[int]) -> pd.DataFrame:
        return per_query_scores(self.queries, ranked, self.document_ids, cutoffs)
