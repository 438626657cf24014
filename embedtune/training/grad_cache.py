"""The gradient of a batch's loss in as much memory as there is (GradCache, Gao et al. 2021).

The batch is embedded in chunks, sorted by length, so that they carry little padding. Then the loss and its gradient
with respect to the embeddings are computed. Finally this gradient is backpropagated through the model, chunk by chunk.
The activations of as many chunks as memory holds stay from the first pass. The others are embedded again for their
backward pass, which repeats the dropout of the first: both start from the chunk's seed, a function of the given seed,
the side and the chunk's number. So what memory holds changes how long a step takes, and no bit of its gradient.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from embedtune.compute import distributed
from embedtune.compute.device import is_out_of_memory
from embedtune.core.seeds import torch_seed
from embedtune.models.padding import batch_size
from embedtune.training.network import Network

Features = dict[str, torch.Tensor]
Loss = Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, torch.Tensor]]
Autocast = Callable[[], contextlib.AbstractContextManager[Any]]


class ChunkTooLargeError(Exception):
    """A chunk did not fit in the memory of some process's device; every process raises this at the same point."""


@dataclass(frozen=True)
class Chunking:
    """How a batch is embedded: `tokens` in one pass, padding included; the activations of `kept` tokens stay for the
    backward pass."""

    tokens: int
    kept: int

    def halved(self) -> Chunking:
        """What needs half the memory: fewer tokens are kept and, where no more than one pass was kept, fewer in it."""
        kept = max(1, self.kept // 2)
        return Chunking(min(self.tokens, kept), kept)


@dataclass(frozen=True)
class _Chunk:
    """Some rows of a side of the batch, and the seed of their dropout."""

    side: str
    rows: torch.Tensor
    features: Features
    seed: int


def accumulate_gradient(
    embedder: Network,
    sides: Mapping[str, Features],
    loss_of: Loss,
    *,
    chunking: Chunking,
    seed: tuple[int, ...],
    autocast: Autocast = contextlib.nullcontext,
    scale: Callable[[torch.Tensor], torch.Tensor] = lambda loss: loss,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add d(scale(loss)) / d(parameters) to the parameters' gradients; return loss and count, detached.

    `sides` (such as queries and passages) are what is embedded. Each has `input_ids` and `attention_mask`, int64, of
    shape (rows, tokens), on the CPU. `loss_of` takes the embeddings (rows, D) of each side in fp32 and returns (loss,
    count). A chunk has sequences of one side, of `chunking.tokens` tokens with padding, but at least one sequence.
    `seed` determines the dropout. Raises ChunkTooLargeError if a chunk does not fit in memory.
    """
    device = next(embedder.parameters()).device
    chunks = [
        _Chunk(side, rows, _part(features, rows, 8 if device.type == "cuda" else 1), torch_seed(*seed, number, index))
        for number, (side, features) in enumerate(sides.items())
        for index, rows in enumerate(_split(features["attention_mask"], chunking.tokens))
    ]
    kept = _kept(chunks, chunking.kept)
    with _synchronise_out_of_memory(device), autocast():
        embedded = []
        for number, chunk in enumerate(chunks):
            with torch.set_grad_enabled(number < kept):
                embedded.append(_embed(embedder, chunk, device))
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
        for number, chunk in enumerate(chunks):
            with autocast():
                again = embedded[number] if number < kept else _embed(embedder, chunk, device)
            again.backward(gradients[chunk.side][chunk.rows.to(device)].to(again.dtype))
    return loss.detach(), count


def _split(mask: torch.Tensor, tokens: int) -> list[torch.Tensor]:
    """The row numbers of each chunk, sorted by length, longest first."""
    lengths = mask.sum(1)
    order = lengths.argsort(descending=True, stable=True)
    chunks = []
    while len(order):
        size = batch_size(int(lengths[order[0]]), tokens)
        chunks.append(order[:size])
        order = order[size:]
    return chunks


def _kept(chunks: list[_Chunk], tokens: int) -> int:
    """How many chunks, from the first on, keep their activations: as many as have `tokens` tokens."""
    sizes = [chunk.features["input_ids"].numel() for chunk in chunks]
    return sum(total <= tokens for total in itertools.accumulate(sizes))


def _part(features: Features, rows: torch.Tensor, multiple_of: int = 1) -> Features:
    """The features of these rows, without the columns that are padding in all, but for a multiple of `multiple_of`."""
    longest = -(-int(features["attention_mask"][rows].sum(1).max()) // multiple_of) * multiple_of
    return {name: tensor[rows, :longest] for name, tensor in features.items()}


def _embed(embedder: Network, chunk: _Chunk, device: torch.device) -> torch.Tensor:
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
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    if distributed.any_process(failed, device):
        raise ChunkTooLargeError
