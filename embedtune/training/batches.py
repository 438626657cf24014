"""Which queries share a batch, and batches as tensors.

The order of an epoch is a function of (seed, epoch). It therefore does not depend on the number of workers, nor on how
many processes share a batch, and a run can be resumed in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from embedtune.core.seeds import generator
from embedtune.models.padding import pad

if TYPE_CHECKING:
    from embedtune.training.training_data import TrainingExample

GROUPED_BATCHES = 50  # most batches that are sorted by length together; between such chunks the order stays random


class ExampleSet(Protocol):
    """What is trained on: questions, each with a group of passages. An item's key is epoch * len + question number."""

    group_size: int
    length_key: str  # the parameter that bounds the length of a sequence

    def __len__(self) -> int: ...

    def __getitem__(self, key: int) -> Any: ...

    def collate(self, groups: list[Any], pad_id: int, multiple_of: int) -> Any:
        """The batch of some items, a dictionary of NumPy arrays; sequences are padded to a multiple of `multiple_of`.

        Its `query_ids` are those of the questions.
        """

    def longest(self) -> int:
        """The number of tokens of the longest sequence."""

    def most_tokens(self) -> int:
        """The most tokens that a question and its group may have."""

    def mean_tokens(self) -> float:
        """The mean number of tokens of a question and its group."""

    def lengths(self) -> NDArray[np.int64]:
        """For each question, by how many tokens it is long (n,): questions of like length may share a batch."""


class Batch(TypedDict):
    """B queries and B * G passages; passage b * G is the positive of query b.

    `queries` (B, tokens) and `passages` (B * G, tokens) are what FlagEmbedding's model takes: `input_ids` and
    `attention_mask`, int64. `relevant` (B, R) has the numbers of each query's relevant documents, padded with -1.
    `documents` (B * G,) has the document number of each passage. `relevant_texts` (B, T), padded with -1, and `texts`
    (B * G,) are numbers of texts (see TrainingExample). `scores` (B, G) are a teacher's scores, fp32, or None. `rels`
    (B,) are the relevances of scored pairs, fp32, or None, and `weights` (B,) how much each query counts, fp32.
    """

    query_ids: list[str]
    queries: dict[str, torch.Tensor]
    passages: dict[str, torch.Tensor]
    relevant: torch.Tensor
    documents: torch.Tensor
    relevant_texts: torch.Tensor
    texts: torch.Tensor
    scores: torch.Tensor | None
    rels: torch.Tensor | None
    weights: torch.Tensor


class BatchArrays(TypedDict):
    """A Batch whose tensors are NumPy arrays of the same shapes and dtypes."""

    query_ids: list[str]
    queries: dict[str, NDArray[np.int64]]
    passages: dict[str, NDArray[np.int64]]
    relevant: NDArray[np.int64]
    documents: NDArray[np.int64]
    relevant_texts: NDArray[np.int64]
    texts: NDArray[np.int64]
    scores: NDArray[np.float32] | None
    rels: NDArray[np.float32] | None
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class BatchPlan:
    """How the queries of an epoch are split into batches: `batch_size` queries on each of `processes` processes.

    An incomplete last batch is dropped or, if `drop_last` is false, truncated to a multiple of `processes`.
    """

    questions: int
    batch_size: int
    processes: int
    drop_last: bool

    @property
    def batches(self) -> int:
        """The number of batches in an epoch, each over all processes."""
        return len(self._starts())

    @property
    def left_out(self) -> int:
        """The number of queries that an epoch drops; the next epoch drops others."""
        return self.questions - sum(size for _, size in self._starts())

    def _starts(self) -> list[tuple[int, int]]:
        """(first query, number of queries) of each batch, over all processes."""
        together = self.batch_size * self.processes
        whole = [(start, together) for start in range(0, self.questions - together + 1, together)]
        rest = self.questions - len(whole) * together
        rest -= rest % self.processes
        return whole if self.drop_last or not rest else [*whole, (len(whole) * together, rest)]

    def slices(self, rank: int) -> list[slice]:
        """The slice of an epoch's order that process `rank` takes, for each batch."""
        return [
            slice(start + rank * size // self.processes, start + (rank + 1) * size // self.processes)
            for start, size in self._starts()
        ]


class BatchSampler(Sampler[list[int]]):
    """A sampler of one process's batches, over all epochs, from batch `first` on; items are keys of TrainingSet.

    The order of an epoch is drawn from (seed, epoch). With `lengths` (queries,), queries of similar length share a
    batch: the order is sorted by length within chunks of a quarter of the epoch's batches (at most 50), and then the
    batches are shuffled.
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


def collate(groups: list[TrainingExample], pad_id: int, multiple_of: int) -> Batch:
    """Collate groups into a Batch; queries and passages are each padded to a multiple of `multiple_of` tokens."""
    batch: Batch = tensors_of(collate_arrays(groups, pad_id, multiple_of))
    return batch


def collate_arrays(groups: list[TrainingExample], pad_id: int, multiple_of: int) -> BatchArrays:
    """As `collate`, but with NumPy arrays in place of tensors."""
    scores, rels = ([group[name] for group in groups] for name in ("scores", "rel"))  # type: ignore[literal-required]
    return {
        "query_ids": [group["query_id"] for group in groups],
        "queries": _sequences([group["query"] for group in groups], pad_id, multiple_of),
        "passages": _sequences([passage for group in groups for passage in group["passages"]], pad_id, multiple_of),
        "relevant": _padded([group["relevant"] for group in groups]),
        "documents": np.array([document for group in groups for document in group["documents"]], dtype=np.int64),
        "relevant_texts": _padded([group["relevant_texts"] for group in groups]),
        "texts": np.array([text for group in groups for text in group["texts"]], dtype=np.int64),
        "scores": None if any(row is None for row in scores) else np.array(scores, dtype=np.float32),
        "rels": None if any(rel is None for rel in rels) else np.array(rels, dtype=np.float32),
        "weights": np.array([group["weight"] for group in groups], dtype=np.float32),
    }


def tensors_of(arrays: Any) -> Any:
    """The same batch with tensors, which share the arrays' memory."""
    if isinstance(arrays, dict):
        return {name: tensors_of(value) for name, value in arrays.items()}
    return torch.from_numpy(arrays) if isinstance(arrays, np.ndarray) else arrays


def _padded(rows: list[list[int]]) -> NDArray[np.int64]:
    most = max(len(row) for row in rows)
    return np.array([row + [-1] * (most - len(row)) for row in rows], dtype=np.int64)


def _sequences(sequences: list[NDArray[np.int64]], pad_id: int, multiple_of: int) -> dict[str, NDArray[np.int64]]:
    ids, mask = pad(sequences, pad_id, multiple_of)
    return {"input_ids": ids, "attention_mask": mask}
