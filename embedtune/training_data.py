"""Training batches from passages already tokenised: no text is read or tokenised inside a step.

Which questions meet in a batch and which negatives a question gets are functions of (seed, epoch, question), so that
an epoch comes out the same whatever the number of workers and processes, and a run can be continued in its middle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from embedtune import files
from embedtune.encode import pad
from embedtune.errors import EmbedTuneError
from embedtune.passages import Passages
from embedtune.seeds import generator
from embedtune.tokenization import Frame

GROUPED_BATCHES = 50  # at most so many batches' questions are sorted by length together: the rest is left to chance


class Group(TypedDict):
    """One question's sequences: the query's token ids, and those of its positive, then its negatives.

    `relevant` are the numbers of all its relevant documents, `documents` those that its passages belong to,
    `scores` a teacher's for its passages (None where the row has none).
    """

    query_id: str
    query: NDArray[np.int64]
    passages: list[NDArray[np.int64]]
    relevant: list[int]
    documents: list[int]
    scores: list[float | None] | None


class Batch(TypedDict):
    """B queries and B * G passages, passage b * G being the positive of query b.

    `queries` and `passages` are what FlagEmbedding's model takes: `input_ids` and `attention_mask`, int64. `relevant`
    (B, R) has numbers of relevant documents, filled up with -1; `documents` (B * G,) each passage's document;
    `scores` (B, G) a teacher's scores, or None.
    """

    query_ids: list[str]
    queries: dict[str, torch.Tensor]
    passages: dict[str, torch.Tensor]
    relevant: torch.Tensor
    documents: torch.Tensor
    scores: torch.Tensor | None


@dataclass(frozen=True)
class MinedRow:
    """A row of data/mined/<round>.jsonl without its texts: passage numbers, and a teacher's score for each, or None."""

    query_id: str
    query: str
    positives: list[int]
    negatives: list[int]
    positive_scores: Sequence[float | None] = ()
    negative_scores: Sequence[float | None] = ()

    @property
    def taught(self) -> bool:
        """Whether a teacher has scored every passage."""
        return bool(self.positive_scores) and None not in (*self.positive_scores, *self.negative_scores)


def read_mined(path: Path) -> list[MinedRow]:
    """The rows of data/mined/<round>.jsonl."""
    return [
        MinedRow(
            row["query_id"],
            row["query"],
            row["pos_passages"],
            row["neg_passages"],
            row.get("pos_scores", ()),
            row.get("neg_scores", ()),
        )
        for row in files.read_json_lines(path)
    ]


class TrainingSet(Dataset[Group]):
    """Groups of one question, one of its positives and `group_size` - 1 of its negatives.

    An item's key is epoch * len + question (Batches makes them). A question with fewer negatives repeats some;
    `query_tokens` are whole sequences, passages are framed and cut to `passage_max_len` here. With `distillation`,
    a group has a teacher's scores. Raises EmbedTuneError when a question has no negative and the group needs one, a
    passage has no teacher's score and distillation needs it, or the instruction leaves no room for a passage.
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
        untaught = next((row.query_id for row in rows if distillation and not row.taught), None)
        if untaught is not None:
            raise EmbedTuneError(
                f"params.yaml: train.distillation: question {untaught!r} has passages without a teacher's score; it "
                "takes dataset.format: triplets with pos_scores and neg_scores in every row, and mine.source: dataset"
            )
        without = next((row.query_id for row in rows if group_size > 1 and not row.negatives), None)
        if without is not None:
            raise EmbedTuneError(
                f"question {without!r} has no negative, but train.train_group_size: {group_size} needs some; "
                "write 1 to train with in-batch negatives alone, lift mine's limits (max_score_ratio, "
                "max_score_margin, near_duplicate_share), or give it a larger corpus"
            )
        if frame.length >= passage_max_len:
            raise EmbedTuneError(
                f"params.yaml: model.passage_instruction takes {frame.length} of the {passage_max_len} tokens of a "
                "passage, special tokens included; raise train.passage_max_len or shorten the instruction"
            )
        self.rows, self.query_tokens, self.passages, self.frame = rows, query_tokens, passages, frame
        self.group_size, self.passage_max_len = group_size, passage_max_len
        self.distillation, self.seed = distillation, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> Group:
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
        """Each question's longest passage in tokens, as far as it is read; shape (questions,)."""
        counts = self.passages.lengths()
        longest = [max(int(counts[p]) for p in (*row.positives, *row.negatives)) for row in self.rows]
        return np.minimum(np.array(longest), self.passage_max_len - self.frame.length)


@dataclass(frozen=True)
class BatchPlan:
    """How the questions of an epoch are cut into batches over `processes` of `batch_size` questions each.

    An incomplete last batch is dropped, or, with `drop_last` false, cut to a multiple of `processes`.
    """

    questions: int
    batch_size: int
    processes: int
    drop_last: bool

    @property
    def batches(self) -> int:
        """Batches of an epoch, over all processes."""
        return len(self._starts())

    @property
    def left_out(self) -> int:
        """Questions that an epoch leaves out; the next epoch leaves out others."""
        return self.questions - sum(size for _, size in self._starts())

    def _starts(self) -> list[tuple[int, int]]:
        """(first question, questions) of each batch."""
        together = self.batch_size * self.processes
        whole = [(start, together) for start in range(0, self.questions - together + 1, together)]
        rest = self.questions - len(whole) * together
        rest -= rest % self.processes
        return whole if self.drop_last or not rest else [*whole, (len(whole) * together, rest)]

    def slices(self, rank: int) -> list[slice]:
        """Which questions of an epoch's order the process `rank` takes, batch by batch."""
        return [
            slice(start + rank * size // self.processes, start + (rank + 1) * size // self.processes)
            for start, size in self._starts()
        ]


class Batches(Sampler[list[int]]):
    """The keys of one process's batches of a whole run, from batch `first` on.

    An epoch's order is drawn from (seed, epoch). With `lengths` (one a question) questions of like length share a
    batch: the order is sorted by length within runs of a quarter of the epoch, or of 50 batches if that is less, and
    the batches shuffled.
    """

    def __init__(
        self,
        plan: BatchPlan,
        *,
        epochs: int,
        seed: int,
        rank: int = 0,
        first: int = 0,
        lengths: NDArray[np.integer] | None = None,
    ) -> None:
        self.plan, self.epochs, self.seed, self.rank, self.first, self.lengths = (
            plan,
            epochs,
            seed,
            rank,
            first,
            lengths,
        )

    def __len__(self) -> int:
        return self.plan.batches * self.epochs - self.first

    def __iter__(self) -> Iterator[list[int]]:
        first_epoch, skipped = divmod(self.first, self.plan.batches)
        for epoch in range(first_epoch, self.epochs):
            order = self._order(epoch)
            for part in self.plan.slices(self.rank)[skipped:]:
                yield (epoch * self.plan.questions + order[part]).tolist()
            skipped = 0

    def _order(self, epoch: int) -> NDArray[np.int64]:
        rng = generator(self.seed, "order", epoch)
        order = rng.permutation(self.plan.questions)
        if self.lengths is None:
            return order
        size = self.plan.batch_size * self.plan.processes
        batches = len(order) // size
        order, rest = order[: batches * size], order[batches * size :]
        together = size * min(GROUPED_BATCHES, max(1, batches // 4))
        runs = [order[i : i + together] for i in range(0, len(order), together)]
        grouped = np.concatenate([run[np.argsort(-self.lengths[run], kind="stable")] for run in runs] or [order])
        return np.concatenate([grouped.reshape(-1, size)[rng.permutation(batches)].ravel(), rest])


def collate(groups: list[Group], pad_id: int, multiple_of: int) -> Batch:
    """Pad groups to a batch, queries and passages each to a multiple of `multiple_of` tokens."""
    scores = [group["scores"] for group in groups]
    most = max(len(group["relevant"]) for group in groups)
    relevant = [group["relevant"] + [-1] * (most - len(group["relevant"])) for group in groups]
    return {
        "query_ids": [group["query_id"] for group in groups],
        "queries": _tensors([group["query"] for group in groups], pad_id, multiple_of),
        "passages": _tensors([passage for group in groups for passage in group["passages"]], pad_id, multiple_of),
        "relevant": torch.tensor(relevant),
        "documents": torch.tensor([document for group in groups for document in group["documents"]]),
        "scores": None if any(row is None for row in scores) else torch.tensor(scores, dtype=torch.float32),
    }


def _tensors(sequences: list[NDArray[np.int64]], pad_id: int, multiple_of: int) -> dict[str, torch.Tensor]:
    ids, mask = pad(sequences, pad_id, multiple_of)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
