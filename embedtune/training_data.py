"""Training batches from passages already tokenised: no text is read or tokenised inside a step.

Which questions meet in a batch and which negatives a question gets are functions of (seed, epoch, question), so that
an epoch comes out the same whatever the number of workers, and a run can be continued in its middle.
"""

from __future__ import annotations

from collections.abc import Iterator
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


class Group(TypedDict):
    """One question's sequences: the query's token ids, and those of its positive, then its negatives."""

    query: NDArray[np.int64]
    passages: list[NDArray[np.int64]]


class Batch(TypedDict):
    """What FlagEmbedding's model takes: `input_ids` and `attention_mask`, int64, of B queries and B * G passages.

    Passage b * G is the positive of query b.
    """

    queries: dict[str, torch.Tensor]
    passages: dict[str, torch.Tensor]


@dataclass(frozen=True)
class MinedRow:
    """A row of data/mined/train.jsonl without its texts: passage numbers."""

    query_id: str
    query: str
    positives: list[int]
    negatives: list[int]


def read_mined(path: Path) -> list[MinedRow]:
    """The rows of data/mined/train.jsonl."""
    return [
        MinedRow(row["query_id"], row["query"], row["pos_passages"], row["neg_passages"])
        for row in files.read_json_lines(path)
    ]


class TrainingSet(Dataset[Group]):
    """Groups of one question, one of its positives and `group_size` - 1 of its negatives.

    An item's key is epoch * len + question (EpochSampler makes them). A question with fewer negatives repeats some;
    `query_tokens` are whole sequences, passages are framed and cut to `passage_max_len` here. Raises EmbedTuneError
    when a question has no negative and the group needs one, or the instruction leaves no room for a passage.
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
        seed: int,
    ) -> None:
        without = next((row.query_id for row in rows if group_size > 1 and not row.negatives), None)
        if without is not None:
            raise EmbedTuneError(
                f"question {without!r} has no negative, but train.train_group_size: {group_size} needs some; "
                "write 1 to train with in-batch negatives alone, or a larger corpus"
            )
        if frame.length >= passage_max_len:
            raise EmbedTuneError(
                f"params.yaml: model.passage_instruction takes {frame.length} of the {passage_max_len} tokens of a "
                "passage, special tokens included; raise train.passage_max_len or shorten the instruction"
            )
        self.rows, self.query_tokens, self.passages, self.frame = rows, query_tokens, passages, frame
        self.group_size, self.passage_max_len, self.seed = group_size, passage_max_len, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int) -> Group:
        epoch, question = divmod(key, len(self.rows))
        row = self.rows[question]
        rng = generator(self.seed, "group", epoch, question)
        positive = row.positives[rng.integers(len(row.positives))]
        negatives = [row.negatives[i] for i in rng.permutation(len(row.negatives))]
        chosen = [negatives[i % len(negatives)] for i in range(self.group_size - 1)]
        return {
            "query": self.query_tokens[question],
            "passages": [
                self.frame.around(self.passages.tokens(passage), self.passage_max_len)
                for passage in (positive, *chosen)
            ],
        }


class EpochSampler(Sampler[int]):
    """Keys of one epoch in an order drawn from (seed, epoch); `set_epoch` is called by Trainer and accelerate."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        order = generator(self.seed, "order", self.epoch).permutation(self.size)
        return iter((self.epoch * self.size + order).tolist())


def collate(groups: list[Group], pad_id: int, multiple_of: int) -> Batch:
    """Pad groups to a batch, queries and passages each to a multiple of `multiple_of` tokens."""
    return {
        "queries": _tensors([group["query"] for group in groups], pad_id, multiple_of),
        "passages": _tensors([passage for group in groups for passage in group["passages"]], pad_id, multiple_of),
    }


def _tensors(sequences: list[NDArray[np.int64]], pad_id: int, multiple_of: int) -> dict[str, torch.Tensor]:
    ids, mask = pad(sequences, pad_id, multiple_of)
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
