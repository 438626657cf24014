"""Training groups of pre-tokenised passages: no text is read or tokenised during a step.

Which positive and negatives a query gets is a function of (seed, epoch, query). It does not depend on the number of
workers or processes.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.utils.data import Dataset

from embedtune.core.errors import ParameterError
from embedtune.core.seeds import generator
from embedtune.data.passages import Passages
from embedtune.mining.mined_rows import MinedRow
from embedtune.models.settings import Settings
from embedtune.models.tokenization import Frame, check_room, frame, tokenize_queries


class TrainingExample(TypedDict):
    """One query with its positive and negatives: the query's token ids (n,), and those of each passage, positive first.

    `relevant` has the numbers of all its relevant documents, `documents` the document number of each passage. `scores`
    has a teacher's score of each passage; None without distillation.
    """

    query_id: str
    query: NDArray[np.int64]
    passages: list[NDArray[np.int64]]
    relevant: list[int]
    documents: list[int]
    scores: list[float | None] | None


class TrainingSet(Dataset[TrainingExample]):
    """A dataset of groups: a query, one of its positives, and `group_size` - 1 of its negatives.

    The key of an item is epoch * len(dataset) + query number (the sampler `Batches` yields them). A query with fewer
    negatives repeats some. `query_tokens` are complete input sequences. Passages are truncated here to
    `passage_max_len` tokens, special tokens and instruction included. With `distillation`, a group has a teacher's
    scores.

    Raises ParameterError if a query without negatives is in a group that needs some, if distillation lacks a teacher's
    score for a passage, or if the instruction leaves no room for a passage.
    """

    def __init__(
        self,
        rows: list[MinedRow],
        query_tokens: list[NDArray[np.int64]],
        passages: Passages,
        frame: Frame,
        *,
        group_size: int,
        passage_max_len: int,
        distillation: bool,
        seed: int,
    ) -> None:
        without_scores = next((row.query_id for row in rows if distillation and not row.has_teacher_scores), None)
        if without_scores is not None:
            raise ParameterError(
                "distillation",
                f"question {without_scores!r} has passages without a teacher's score; it takes `format: triplets` with "
                "pos_scores and neg_scores in every row, and `source: dataset`",
            )
        without = next((row.query_id for row in rows if group_size > 1 and not row.negatives), None)
        if without is not None:
            raise ParameterError(
                "train_group_size",
                f"{group_size} needs negatives, and question {without!r} has none; write 1 to train with in-batch "
                "negatives alone, lift mining's limits (`max_score_ratio`, `max_score_margin`, "
                "`near_duplicate_share`), or give it a larger corpus",
            )
        check_room("passage", frame.length, passage_max_len)
        self.rows, self.query_tokens, self.passages, self.frame = rows, query_tokens, passages, frame
        self.group_size, self.passage_max_len = group_size, passage_max_len
        self.distillation, self.seed = distillation, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> TrainingExample:
        epoch, question = divmod(key, len(self.rows))
        row = self.rows[question]
        rng = generator(self.seed, "group", epoch, question)
        positive = int(rng.integers(len(row.positives)))
        order = rng.permutation(len(row.negatives))
        negatives = [order[i % len(order)] for i in range(self.group_size - 1)]
        chosen = [row.positives[positive], *(row.negatives[i] for i in negatives)]
        return {
            "query_id": row.query_id,
            "query": self.query_tokens[question],
            "passages": [self.frame.around(self.passages.tokens(p), self.passage_max_len) for p in chosen],
            "relevant": [int(self.passages.document[p]) for p in row.positives],
            "documents": [int(self.passages.document[p]) for p in chosen],
            "scores": [row.positive_scores[positive], *(row.negative_scores[i] for i in negatives)]
            if self.distillation
            else None,
        }

    def lengths(self) -> NDArray[np.int64]:
        """The length of each query's longest passage after truncation, in tokens, shape (queries,).

        Special tokens and instruction are not counted.
        """
        counts = self.passages.lengths()
        longest = [max(int(counts[p]) for p in (*row.positives, *row.negatives)) for row in self.rows]
        return np.minimum(np.array(longest), self.passage_max_len - self.frame.length)


def read_training_set(
    rows: list[MinedRow],
    tokenizer: Tokenizer,
    passages: Passages,
    settings: Settings,
    *,
    group_size: int,
    query_max_len: int,
    passage_max_len: int,
    distillation: bool,
    seed: int,
) -> TrainingSet:
    """The training set of mined rows, tokenised for a model with this tokenizer and these settings.

    Raises ParameterError as `tokenize_queries` and `TrainingSet` do.
    """
    queries = [row.query for row in rows]
    return TrainingSet(
        rows,
        tokenize_queries(tokenizer, queries, settings.query_instruction, query_max_len),
        passages,
        frame(tokenizer, settings.passage_instruction),
        group_size=group_size,
        passage_max_len=passage_max_len,
        distillation=distillation,
        seed=seed,
    )
