"""The gradient of a batch's loss in the memory of one chunk of the batch (GradCache, Gao et al. 2021).

The batch is embedded first. Then the loss and its gradient with respect to the embeddings are computed. Finally this
gradient is backpropagated through the model. If each side (queries, passages) is one chunk, the first pass keeps its
graph and nothing is computed twice. Otherwise the first pass keeps only the embeddings, and each chunk is embedded
again for its backward pass. The second pass repeats the dropout of the first: both start from the chunk's seed, a
function of the given seed, the side and the chunk's number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from FlagEmbedding.abc.finetune.embedder import AbsEmbedderModel

from embedtune.compute import distributed
from embedtune.core.seeds import torch_seed

Features = dict[str, torch.Tensor]
Loss = Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, torch.Tensor]]
Autocast = Callable[[], contextlib.AbstractContextManager[Any]]


class ChunkTooLargeError(Exception):
    """A chunk did not fit in the memory of some process's device; every process raises this at the same point."""


@dataclass(frozen=True)
class _Chunk:
    """Some rows of a side of the batch, and the seed of their dropout."""

    side: str
    rows: torch.Tensor
    features: Features
    seed: int


def accumulate_gradient(
    embedder: AbsEmbedderModel,
    sides: Mapping[str, Features],
    loss_of: Loss,
    *,
    sub_batch_size: int | None,
    seed: tuple[int, ...],
    autocast: Autocast = contextlib.nullcontext,
    scale: Callable[[torch.Tensor], torch.Tensor] = lambda loss: loss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add d(scale(loss)) / d(parameters) to the parameters' gradients; return loss and count, detached.

    `sides` (such as queries and passages) are what is embedded. Each has `input_ids` and `attention_mask`, int64, of
    shape (rows, tokens), on the CPU. `loss_of` takes the embeddings (rows, D) of each side in fp32 and returns (loss,
    count). A chunk has `sub_batch_size` sequences of one side, sorted by length (None: each side is one chunk). `seed`
    determines the dropout. Raises ChunkTooLargeError if a chunk does not fit in memory.
    """
    device = next(embedder.parameters()).device
    chunks = [
        _Chunk(side, rows, _part(features, rows), torch_seed(*seed, number, index))
        for number, (side, features) in enumerate(sides.items())
        for index, rows in enumerate(_split(features["attention_mask"], sub_batch_size))
    ]
    whole = len(chunks) == len(sides)
    with _synchronise_out_of_memory(device), autocast(), torch.set_grad_enabled(whole):
        embedded = [_embed(embedder, chunk, device) for chunk in chunks]
    leaves = {
        side: _in_batch_order([(c.rows, e) for c, e in zip(chunks, embedded, strict=True) if c.side == side])
        for side in sides
    }
    # with several processes, running out of memory here cannot be reported: the others wait for this one in the loss
    with _synchronise_out_of_memory(device) if distributed.world_size() == 1 else contextlib.nullcontext():
        loss, count = loss_of(leaves)
        scale(loss).backward()
    gradients = {side: leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for side, leaf in leaves.items()}
    with _synchronise_out_of_memory(device):
        for chunk, kept in zip(chunks, embedded, strict=True):
            with autocast():
                again = kept if whole else _embed(embedder, chunk, device)
            again.backward(gradients[chunk.side][chunk.rows.to(device)].to(again.dtype))
    return loss.detach(), count


def next_chunk_size(sub_batch_size: int | None, sequences: int) -> int:
    """The next smaller chunk size: half of `sub_batch_size` (None: of `sequences`), at most half of `sequences`.

    Raises ChunkTooLargeError below 1.
    """
    size = min(sub_batch_size or sequences, sequences) // 2
    if size < 1:
        raise ChunkTooLargeError
    return size


def _split(mask: torch.Tensor, size: int | None) -> list[torch.Tensor]:
    """The row numbers of each chunk; if there are several, rows are sorted by length, longest first."""
    if size is None or len(mask) <= size:
        return [torch.arange(len(mask))]
    order = mask.sum(1).argsort(descending=True, stable=True)
    return list(order.split(size))


def _part(features: Features, rows: torch.Tensor) -> Features:
    """The features of these rows, without the columns that are padding in all of them."""
    if len(rows) == len(features["attention_mask"]):
        return features
    longest = int(features["attention_mask"][rows].sum(1).max())
    return {name: tensor[rows, :longest] for name, tensor in features.items()}


def _embed(embedder: AbsEmbedderModel, chunk: _Chunk, device: torch.device) -> torch.Tensor:
    torch.manual_seed(chunk.seed)
    return embedder.encode({name: tensor.to(device, non_blocking=True) for name, tensor in chunk.features.items()})


def _in_batch_order(pieces: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The chunks' embeddings in the order of the batch, fp32, as a leaf tensor that requires a gradient."""
    rows = torch.cat([rows for rows, _ in pieces])
    embeddings = torch.cat([embeddings.detach().float() for _, embeddings in pieces])
    return embeddings[rows.argsort().to(embeddings.device)].requires_grad_()


@contextlib.contextmanager
def _synchronise_out_of_memory(device: torch.device) -> Iterator[None]:
    """Turn running out of memory on one process into ChunkTooLargeError on all; every process must enter this."""
    try:
        yield
        failed = False
    except torch.OutOfMemoryError:
        failed = True
    if distributed.any_process(failed, device):
        raise ChunkTooLargeError
