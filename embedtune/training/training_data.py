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
from embedtune.data.passages import Passages, text_hash
from embedtune.mining.mined_rows import MinedRow
from embedtune.models.settings import Settings
from embedtune.models.tokenization import Frame, check_room, frame, tokenize_queries
from embedtune.training.batches import BatchArrays, collate_arrays


class TrainingExample(TypedDict):
    """One query with its positive and negatives: the query's token ids (n,), and those of each passage, positive first.

    `relevant` has the numbers of all its relevant documents, `documents` the document number of each passage. `texts`
    has the number of each passage's text (see Passages.text_numbers). `relevant_texts` has those of relevant documents
    that other documents have too, and the query's own, if a passage has it. `scores` has a teacher's score of each
    passage; None without distillation. `rel` is the relevance of a scored pair's passage, None for another row, and
    `weight` how much the row counts; `relevant` of a scored pair are all documents that its query is judged with, and
    of another row the partly relevant ones are among them: none of them is a negative.
    """

    query_id: str
    query: NDArray[np.int64]
    passages: list[NDArray[np.int64]]
    relevant: list[int]
    documents: list[int]
    relevant_texts: list[int]
    texts: list[int]
    scores: list[float | None] | None
    rel: float | None
    weight: float


class TrainingSet(Dataset[TrainingExample]):
    """A dataset of groups: a query, one of its positives, and `group_size` - 1 of its negatives.

    The key of an item is epoch * len(dataset) + query number (the sampler `Batches` yields them). A query with fewer
    negatives repeats some. `query_tokens` are complete input sequences. Passages are truncated here to
    `passage_max_len` tokens, special tokens and instruction included. With `distillation`, a group has a teacher's
    scores.

    Raises ParameterError if a query without negatives is in a group that needs some, if distillation lacks a teacher's
    score for a passage, or if the instruction leaves no room for a passage.
    """

    length_key = "passage_max_len"

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
                "teacher",
                f"question {without_scores!r} has passages without a teacher's score; dataset takes `format: triplets` "
                "with pos_scores and neg_scores in every row, and `source: dataset`",
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
        self.text_hashes, self.text_numbers, self.shared_texts = passages.text_numbers()
        self.judged: dict[str, list[int]] = {}  # the documents of a query's scored pairs, by query id
        for row in (row for row in rows if row.rel is not None):
            self.judged.setdefault(row.query_id, []).append(int(passages.document[row.positives[0]]))
        partly = {document for row in rows for document in row.partly_relevant}
        self.number_of = {document: n for n, document in enumerate(passages.document_ids) if document in partly}

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
        relevant = self.judged.get(row.query_id) or [int(self.passages.document[p]) for p in row.positives]
        relevant = [*relevant, *(self.number_of[document] for document in row.partly_relevant)]
        return {
            "query_id": row.query_id,
            "query": self.query_tokens[question],
            "passages": [self.frame.around(self.passages.tokens(p), self.passage_max_len) for p in chosen],
            "relevant": relevant,
            "documents": [int(self.passages.document[p]) for p in chosen],
            "relevant_texts": self._relevant_texts(row.query, relevant),
            "texts": self.text_numbers[chosen].tolist(),
            "scores": [row.positive_scores[positive], *(row.negative_scores[i] for i in negatives)]
            if self.distillation
            else None,
            "rel": row.rel,
            "weight": row.weight,
        }

    def _relevant_texts(self, query: str, relevant: list[int]) -> list[int]:
        own = text_hash(query)
        place = int(np.searchsorted(self.text_hashes, np.uint64(own)))
        found = [place] if place < len(self.text_hashes) and self.text_hashes[place] == own else []
        for document in dict.fromkeys(relevant):
            texts = self.text_numbers[self.passages.of_document(document)]
            found += texts[self.shared_texts[texts]].tolist()
        return sorted(set(found))

    def mean_tokens(self) -> float:
        """The mean number of tokens of a question and its group, special tokens and instructions included."""
        counts = np.minimum(self.passages.lengths() + self.frame.length, self.passage_max_len)
        passages = np.mean([counts[[*row.positives, *row.negatives]].mean() for row in self.rows])
        return float(np.mean([len(query) for query in self.query_tokens]) + self.group_size * passages)

    def longest(self) -> int:
        """The number of tokens of the longest query or passage, special tokens and instruction included."""
        return max(self._longest())

    def most_tokens(self) -> int:
        """The most tokens that a query and its group may have."""
        query, passage = self._longest()
        return query + self.group_size * passage

    def _longest(self) -> tuple[int, int]:
        longest_query = max(len(query) for query in self.query_tokens)
        return longest_query, int(self.lengths().max()) + self.frame.length

    def collate(self, groups: list[TrainingExample], pad_id: int, multiple_of: int) -> BatchArrays:
        """The batch of some items; queries and passages are each padded to a multiple of `multiple_of` tokens."""
        return collate_arrays(groups, pad_id, multiple_of)

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
