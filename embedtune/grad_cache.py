"""The gradient of a batch's loss, in as much memory as one chunk of it takes (GradCache, Gao et al. 2021).

Embeddings first, then the loss and its gradient with respect to them, then that gradient pushed back through the
model. Where the batch is one chunk, the first pass keeps its graph and nothing is computed twice. Where it is more, the
first pass keeps embeddings only, and each chunk is embedded again to push its gradient back, with the same dropout:
a chunk's random numbers are a function of (seed, key, chunk), drawn anew for both passes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from FlagEmbedding.abc.finetune.embedder import AbsEmbedderModel

from embedtune import distributed
from embedtune.seeds import number

Features = dict[str, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
Autocast = Callable[[], contextlib.AbstractContextManager[Any]]


class ChunkTooLargeError(Exception):
    """The device of some process ran out of memory; every process gets this at the same place."""


@dataclass(frozen=True)
class _Chunk:
    side: int  # 0: queries, 1: passages
    rows: torch.Tensor
    features: Features
    seed: int


def accumulate_gradient(
    embedder: AbsEmbedderModel,
    queries: Features,
    passages: Features,
    loss_of: Loss,
    *,
    sub_batch_size: int | None,
    seed: tuple[int, ...],
    autocast: Autocast = contextlib.nullcontext,
    scale: Callable[[torch.Tensor], torch.Tensor] = lambda loss: loss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add d(scale(loss)) / d(parameters) to the parameters' gradients; return loss and count of `loss_of`, detached.

    `queries` and `passages` have `input_ids` and `attention_mask`, int64, on the CPU; `loss_of` gets their embeddings
    (B, D) and (P, D) in fp32 and gives (loss, count). Chunks have `sub_batch_size` sequences (None: all queries are
    one, all passages another), sorted by length. Raises ChunkTooLargeError when a chunk does not fit in memory.
    """
    device = next(embedder.parameters()).device
    sides = (queries, passages)
    chunks = [
        _Chunk(side, rows, _part(sides[side], rows), number(*seed, side, index))
        for side in (0, 1)
        for index, rows in enumerate(_split(sides[side]["attention_mask"], sub_batch_size))
    ]
    whole = len(chunks) == 2
    with _memory_shared(device), autocast(), torch.set_grad_enabled(whole):
        embedded = [_embed(embedder, chunk, device) for chunk in chunks]
    leaves = [
        _in_order([(c.rows, e) for c, e in zip(chunks, embedded, strict=True) if c.side == side]) for side in (0, 1)
    ]
    # a lack of memory here is told only where no other process waits in the loss for this one
    with _memory_shared(device) if distributed.world_size() == 1 else contextlib.nullcontext():
        loss, count = loss_of(*leaves)
        scale(loss).backward()
    gradients = [leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for leaf in leaves]
    with _memory_shared(device):
        for chunk, kept in zip(chunks, embedded, strict=True):
            with autocast():
                again = kept if whole else _embed(embedder, chunk, device)
            again.backward(gradients[chunk.side][chunk.rows.to(device)].to(again.dtype))
    return loss.detach(), count


def halved(sub_batch_size: int | None, sequences: int) -> int:
    """The next smaller chunk: half of `sub_batch_size`, or of all `sequences`. Raises ChunkTooLargeError below 1."""
    size = min(sub_batch_size or sequences, sequences) // 2
    if size < 1:
        raise ChunkTooLargeError
    return size


def _split(mask: torch.Tensor, size: int | None) -> list[torch.Tensor]:
    """Row numbers of each chunk; several chunks are sorted by length, the longest first."""
    if size is None or len(mask) <= size:
        return [torch.arange(len(mask))]
    order = mask.sum(1).argsort(descending=True, stable=True)
    return list(order.split(size))


def _part(features: Features, rows: torch.Tensor) -> Features:
    """Some rows, without the columns that are padding in all of them."""
    if len(rows) == len(features["attention_mask"]):
        return features
    longest = int(features["attention_mask"][rows].sum(1).max())
    return {name: tensor[rows, :longest] for name, tensor in features.items()}


def _embed(embedder: AbsEmbedderModel, chunk: _Chunk, device: torch.device) -> torch.Tensor:
    torch.manual_seed(chunk.seed)
    return embedder.encode({name: tensor.to(device, non_blocking=True) for name, tensor in chunk.features.items()})


def _in_order(pieces: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The chunks' embeddings in the order of the batch, fp32, a leaf that takes a gradient."""
    rows = torch.cat([rows for rows, _ in pieces])
    embeddings = torch.cat([embeddings.detach().float() for _, embeddings in pieces])
    return embeddings[rows.argsort().to(embeddings.device)].requires_grad_()


@contextlib.contextmanager
def _memory_shared(device: torch.device) -> Iterator[None]:
    """Turn a lack of memory on one process into ChunkTooLargeError on all, where they meet."""
    try:
        yield
        failed = False
    except torch.OutOfMemoryError:
        failed = True
    if distributed.any_process(failed, device):
        raise ChunkTooLargeError
