"""Evaluation during training: the pipeline's own measures on dev queries and a fixed pool of documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tokenizers import Tokenizer

from embedtune.compute import distributed
from embedtune.data.corpus import Query, read_queries
from embedtune.data.passages import Passages
from embedtune.evaluation.dev_pool import best_documents, found_by_queries
from embedtune.evaluation.measures import per_query_scores
from embedtune.models.encoder import Encoder
from embedtune.models.settings import Settings
from embedtune.models.tokenization import Frame, frame, tokenize_queries
from embedtune.models.vector_store import VectorStore
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.rankings import without_ignored


@dataclass(frozen=True)
class EvaluationSet:
    """Queries, and the documents to rank for them: the dev split with its pool, or a general data set.

    `name` labels the progress bars. `query_tokens` are complete input sequences (n,), special tokens and instruction
    included. `documents` (m,) are the numbers of the ranked documents. `more`, if given, adds to them by the model's
    query vectors (see dev_pool.py), of some `more_tokens` tokens. `frame` has the tokens around every passage.
    """

    name: str
    queries: list[Query]
    query_tokens: list[NDArray[np.int64]]
    passages: Passages
    documents: NDArray[np.int64]
    frame: Frame
    more: Callable[[NDArray[np.float16]], NDArray[np.int64]] | None = None
    more_tokens: int = 0

    def tokens(self) -> int:
        """The number of tokens that an evaluation embeds, padding excluded; that of `more` is an estimate."""
        of_all = int(self._lengths().sum())
        of_pool = min(of_all, self.passage_tokens(self.documents) + self.more_tokens)
        return sum(map(len, self.query_tokens)) + of_pool

    def passage_tokens(self, documents: NDArray[np.int64]) -> int:
        """The number of tokens of the documents' passages, with what is around them."""
        return int(self._lengths()[_passages_of(self.passages, documents)].sum())

    def _lengths(self) -> NDArray[np.int64]:
        return np.minimum(self.passages.lengths() + self.frame.length, self.passages.max_tokens)

    def score(self, model: Encoder, *, batch_tokens: int, cutoffs: list[int]) -> pd.DataFrame:
        """Per-query measures of the model's current weights: one row per query, columns such as `ndcg@10`.

        `batch_tokens` is the number of tokens in one forward pass. Each process encodes its part of the sequences, and
        every process gets the table. The model's training or evaluation mode is restored.
        """

        def vectors(
            sequence: Callable[[int], NDArray[np.int64]], lengths: NDArray[np.int64], kind: str
        ) -> NDArray[np.float16]:
            mine = np.array_split(np.arange(len(lengths)), distributed.world_size())[distributed.rank()]
            out = np.empty((len(mine), model.dimension), dtype=np.float16)
            model.encode_tokens(
                lambda i: sequence(int(mine[i])),
                lengths[mine],
                out,
                batch_tokens=batch_tokens,
                description=f"{self.name} {kind}",
            )
            return np.concatenate(distributed.all_gather_objects(out))

        query_lengths = np.array([len(tokens) for tokens in self.query_tokens], dtype=np.int64)
        query_vectors = vectors(lambda i: self.query_tokens[i], query_lengths, "queries")
        documents = self._ranked(query_vectors)
        numbers = _passages_of(self.passages, documents)
        longest = self.passages.max_tokens
        passage_vectors = vectors(
            lambda i: self.frame.around(self.passages.tokens(int(numbers[i])), longest),
            self._lengths()[numbers],
            "passages",
        )
        return distributed.computed_on_main(lambda: self._measured(query_vectors, passage_vectors, documents, cutoffs))

    def base_means(self, base: VectorStore, cutoffs: list[int]) -> dict[str, float]:
        """Measure -> mean of the base model, by the vectors that its store has of the dev queries and the documents."""
        numbers = _passages_of(self.passages, self.documents)
        table = self._measured(base.queries("dev"), base.passages[numbers], self.documents, cutoffs)
        return {str(measure): float(mean) for measure, mean in table.mean().items()}

    def _measured(
        self,
        query_vectors: NDArray[np.float16],
        passage_vectors: NDArray[np.float16],
        documents: NDArray[np.int64],
        cutoffs: list[int],
    ) -> pd.DataFrame:
        """Per-query measures; `passage_vectors` are those of all passages of `documents`, in their order."""
        counts = [len(self.passages.of_document(int(document))) for document in documents]
        owner = np.repeat(np.arange(len(documents), dtype=np.int32), counts)
        ids = [self.passages.document_ids[document] for document in documents]
        rankings = without_ignored(  # searches on the CPU: training holds the GPU's memory
            self.queries,
            ids,
            max(cutoffs),
            lambda depth: rank_documents(query_vectors, passage_vectors, owner, ids, depth, use_gpu=False),
        )
        return per_query_scores(self.queries, rankings, ids, cutoffs)

    def _ranked(self, query_vectors: NDArray[np.float16]) -> NDArray[np.int64]:
        """The numbers of the documents to rank, ascending; the main process searches for the others."""
        more = self.more
        if more is None:
            return self.documents
        return distributed.computed_on_main(lambda: np.union1d(self.documents, more(query_vectors)))


def prepare_evaluation_set(
    queries: list[Query],
    passages: Passages,
    documents: NDArray[np.int64],
    tokenizer: Tokenizer,
    settings: Settings,
    query_max_len: int,
    name: str = "dev",
) -> EvaluationSet:
    """An EvaluationSet of `queries`, tokenised with their instruction, and of the documents numbered `documents` (m,).

    Raises ParameterError if the instruction leaves no room for a query in `query_max_len` tokens.
    """
    tokens = tokenize_queries(tokenizer, [q.text for q in queries], settings.query_instruction, query_max_len)
    return EvaluationSet(name, queries, tokens, passages, documents, frame(tokenizer, settings.passage_instruction))


@dataclass(frozen=True)
class DevSet:
    """The dev queries and their pool of documents, which can be made smaller.

    `pool` is the set with the documents that do not depend on a model. `by_base` (queries, top) are the numbers of the
    base model's best documents, best first, -1 where there are fewer. `base` has the base model's vectors.
    """

    pool: EvaluationSet
    by_base: NDArray[np.integer]
    base: VectorStore

    @property
    def top(self) -> int:
        """The number of ranks of the base model's results that are in the pool."""
        return int(self.by_base.shape[1])

    def of_top(self, top: int) -> EvaluationSet:
        """The set with the first `top` ranks of base's results and of those of the model that is evaluated.

        Of the pool's other documents, which are random, it has the like share of `top` in the pool's ranks.
        """
        by_base = np.setdiff1d(self.by_base[:, :top], [-1])
        documents = self.pool.documents
        if top < self.top:
            relevant = {document for query in self.pool.queries for document in query.graded()}
            ids = self.pool.passages.document_ids
            asked_for = np.array([ids[document] in relevant for document in documents], dtype=bool)
            random = documents[~asked_for & ~np.isin(documents, self.by_base)]
            some = random[np.arange(0, len(random) * top // self.top) * self.top // top]
            documents = np.union1d(documents[asked_for], np.union1d(by_base, some))
        more = found_by_queries(self.base.passages, self.pool.passages, top, self.pool.queries)
        return replace(self.pool, documents=documents, more=more, more_tokens=self.pool.passage_tokens(by_base))


def read_dev_set(
    queries: Path,
    qrels: Path,
    pool: Path,
    base: VectorStore,
    top: int,
    passages: Passages,
    tokenizer: Tokenizer,
    settings: Settings,
    query_max_len: int,
) -> DevSet | None:
    """The dev queries and the pool of documents (an .npy file of document numbers) that they are ranked among.

    `queries` and `qrels` are directories (see corpus.py). `base` has the base model's vectors, among which a model's
    queries find its own `top` documents (see dev_pool.py). None if there are no dev queries.
    """
    asked = read_queries(queries, qrels, "dev")
    if not asked:
        return None
    fixed = prepare_evaluation_set(asked, passages, np.load(pool), tokenizer, settings, query_max_len)
    by_base = distributed.computed_on_main(
        lambda: best_documents(base.queries("dev"), base.passages, passages, top, asked)
    )
    return DevSet(fixed, by_base, base)


def _passages_of(passages: Passages, documents: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of the documents' passages, in the documents' order."""
    return np.concatenate([passages.of_document(int(document)) for document in documents])


def indistinguishable_from_best(
    evaluations: list[dict[str, float]], scores: list[list[float]], metric: str
) -> list[int]:
    """The steps, other than the best one, whose mean measure is at most two standard errors below the best.

    The standard error is that of the paired differences, query by query (infinite for a single query). `evaluations`
    have `step` and `metric`; `scores` has one list of per-query values for each evaluation.
    """
    best = max(range(len(scores)), key=lambda i: evaluations[i][metric])
    close = []
    for i, other in enumerate(scores):
        difference = np.array(scores[best]) - np.array(other)
        error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.inf
        if i != best and difference.mean() <= 2 * error:
            close.append(int(evaluations[i]["step"]))
    return close
