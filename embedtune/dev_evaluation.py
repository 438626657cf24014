"""Evaluation while training, by the pipeline's own measures, on dev questions and a fixed pool of documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from embedtune import distributed
from embedtune.corpus import Query
from embedtune.encode import encode
from embedtune.measures import per_query_scores
from embedtune.model import Settings
from embedtune.passages import Passages
from embedtune.search import rank_documents
from embedtune.tokenization import Frame, frame, tokenize_queries


@dataclass(frozen=True)
class DevSet:
    """Questions and the passages of the documents that they are ranked among: dev's and its pool, or a probe.

    `name` is what progress bars call it; `query_tokens` are whole sequences; `documents` the documents' numbers.
    """

    name: str
    queries: list[Query]
    query_tokens: list[NDArray[np.int64]]
    passages: Passages
    documents: NDArray[np.int64]
    frame: Frame

    def score(
        self,
        backbone: PreTrainedModel,
        settings: Settings,
        *,
        pad_id: int,
        batch_tokens: int,
        cutoffs: list[int],
        section: str = "train",
    ) -> pd.DataFrame:
        """Per-question measures (rows: questions; columns such as `ndcg@10`) of the model as it is now.

        Every process encodes its share; all of them get the table. The model is left in the mode it was in. Errors name
        `section` of params.yaml.
        """
        numbers = np.concatenate([self.passages.of_document(int(document)) for document in self.documents])
        owner = np.repeat(np.arange(len(self.documents), dtype=np.int32), self._passages_each())
        was_training = backbone.training
        backbone.eval()

        def vectors(
            sequence: Callable[[int], NDArray[np.int64]], lengths: NDArray[np.int64], kind: str
        ) -> NDArray[np.float16]:
            mine = np.array_split(np.arange(len(lengths)), distributed.world_size())[distributed.rank()]
            out = np.empty((len(mine), backbone.config.hidden_size), dtype=np.float16)
            encode(
                backbone,
                lambda i: sequence(int(mine[i])),
                lengths[mine],
                out,
                batch_tokens=batch_tokens,
                pooling=settings.pooling,
                normalized=settings.normalize,
                pad_id=pad_id,
                section=section,
                description=f"{self.name} {kind}",
            )
            return np.concatenate(distributed.gather_objects(out))

        longest = self.passages.max_tokens
        passage_vectors = vectors(
            lambda i: self.frame.around(self.passages.tokens(int(numbers[i])), longest),
            np.minimum(self.passages.lengths()[numbers] + self.frame.length, longest),
            "passages",
        )
        query_lengths = np.array([len(tokens) for tokens in self.query_tokens], dtype=np.int64)
        query_vectors = vectors(lambda i: self.query_tokens[i], query_lengths, "queries")
        backbone.train(was_training)
        ids = [self.passages.document_ids[document] for document in self.documents]
        table = None
        if distributed.is_main():  # on the CPU: training holds the GPU's memory
            rankings = rank_documents(query_vectors, passage_vectors, owner, ids, max(cutoffs), use_gpu=False)
            table = per_query_scores(self.queries, rankings, ids, cutoffs)
        shared = distributed.from_main(table)
        assert shared is not None, "the main process has made it"
        return shared

    def _passages_each(self) -> NDArray[np.int64]:
        first = self.passages.first_passage
        return first[self.documents + 1] - first[self.documents]


def prepare(
    queries: list[Query],
    passages: Passages,
    documents: NDArray[np.int64],
    tokenizer: Tokenizer,
    settings: Settings,
    query_max_len: int,
    name: str = "dev",
) -> DevSet:
    """The questions, tokenised with their instruction, and the documents (numbers) that they are ranked among."""
    tokens = tokenize_queries(tokenizer, [q.text for q in queries], settings.query_instruction, query_max_len)
    return DevSet(name, queries, tokens, passages, documents, frame(tokenizer, settings.passage_instruction))


def hard_to_tell_apart(evaluations: list[dict[str, float]], scores: list[list[float]], metric: str) -> list[int]:
    """The steps whose measure is less than two standard errors below the best one's, question by question.

    `scores` has one list of per-question values for each evaluation.
    """
    best = max(range(len(scores)), key=lambda i: evaluations[i][metric])
    close = []
    for i, other in enumerate(scores):
        difference = np.array(scores[best]) - np.array(other)
        error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.inf
        if i != best and difference.mean() <= 2 * error:
            close.append(int(evaluations[i]["step"]))
    return close
