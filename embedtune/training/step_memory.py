"""How many tokens of a step memory holds, foretold from short sequences before the first step.

What the backward pass needs is counted by autograd's own hooks: the same number on every machine, and from so few
tokens that counting does not run out of memory itself. To it come gradients, the optimiser's state and, while a chunk's
backward pass runs, its temporary tensors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from embedtune.compute.device import is_out_of_memory
from embedtune.compute.memory import free_bytes
from embedtune.core.errors import ParameterError
from embedtune.models.adapters import trained_parameters
from embedtune.training.grad_cache import Chunking
from embedtune.training.network import Network

CHUNK_TOKENS = {"cpu": 8192, "cuda": 65_536}  # in one pass where memory holds them; cuda: a guess, unmeasured
USED_SHARE = 0.85  # of the free memory; the rest is for the system, evaluations and what is not foretold
TEMPORARY = 0.25  # memory that a backward pass needs for a while, over its activations
RECOMPUTED = 4.0  # the same with gradient checkpointing, which computes a layer's activations again
MEASURED = (128, 256)  # lengths at which activations are counted
HOLES = 1.3  # memory that malloc takes over what is in use (measured on a CPU: 1.28)
OPTIMISER_BYTES = 12  # for each trained weight: its gradient and Adam's two moments, fp32
COPY_BYTES = 2  # for each trained weight of a matrix product: its copy in 16 bits, if the model computes in that


def chunking_for(
    embedder: Network,
    tokens_in_memory: int | None,
    longest: int,
    most: int,
    autocast: Callable[[], contextlib.AbstractContextManager[Any]],
    gradient_checkpointing: bool = False,
    processes: int = 1,
    length_key: str = "passage_max_len",
) -> Chunking:
    """How batches are cut into chunks: by `tokens_in_memory`, or without it by the memory that is free.

    `longest` is the number of tokens of the longest sequence, `most` the most tokens that a batch may have, padding
    included. `processes` share this machine's memory. `length_key` is the parameter that bounds `longest`. Raises
    ParameterError if not even one sequence fits.
    """
    device = trained_parameters(embedder)[0].device
    chunk = min(most, CHUNK_TOKENS.get(device.type, CHUNK_TOKENS["cpu"]))
    if tokens_in_memory is not None:
        return Chunking(min(chunk, tokens_in_memory), tokens_in_memory)
    free = free_bytes(device, processes)
    if free is None:
        return Chunking(chunk, most)
    reduced = not isinstance(autocast(), contextlib.nullcontext)
    try:
        activations = activation_bytes(embedder, longest, autocast)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ParameterError(
            length_key,
            f"{free / 1e9:.2f} GB of memory are free, which is not enough for three texts of "
            f"{min(longest, MEASURED[-1])} tokens; lower it, or end other programs",
        ) from error
    return fitting(
        int(free * USED_SHARE) - fixed_bytes(embedder, reduced),
        HOLES * activations / longest,
        RECOMPUTED if gradient_checkpointing else TEMPORARY,
        chunk,
        longest,
        most,
        length_key,
    )


def fitting(
    budget: int,
    per_token: float,
    temporary: float,
    chunk: int,
    longest: int,
    most: int,
    length_key: str = "passage_max_len",
) -> Chunking:
    """The chunking that needs at most `budget` bytes; in chunks of `chunk` tokens, if that many fit.

    `per_token` are the bytes of a token's activations, and a pass over a chunk takes `temporary` times as many more.
    Raises ParameterError if not even the longest sequence, of `longest` tokens, fits.
    """
    chunk = max(chunk, longest)  # it has at least one text
    kept = int(budget / per_token - chunk * temporary)
    if kept >= chunk:
        return Chunking(chunk, min(kept, most))
    fits = int(budget / per_token / (1 + temporary))
    if fits >= longest:
        return Chunking(fits, fits)
    need = longest * per_token * (1 + temporary)
    raise ParameterError(
        length_key,
        f"a text of {longest} tokens needs {need / 1e9:.2f} GB in training, and {max(0, budget) / 1e9:.2f} GB are left "
        "beside the model, its gradients and the optimiser; lower it, write `gradient_checkpointing: true` or "
        "`method: lora`, or end other programs",
    )


def fixed_bytes(embedder: Network, reduced: bool) -> int:
    """What a step takes whatever its batch: gradients, the optimiser's state and, if `reduced`, copies in 16 bits."""
    trained = trained_parameters(embedder)
    tables = {id(module.weight) for module in embedder.modules() if isinstance(module, torch.nn.Embedding)}
    copied = [p for p in trained if reduced and p.dtype == torch.float32 and p.ndim > 1 and id(p) not in tables]
    return sum(p.numel() for p in trained) * OPTIMISER_BYTES + sum(p.numel() for p in copied) * COPY_BYTES


def activation_bytes(
    embedder: Network, tokens: int, autocast: Callable[[], contextlib.AbstractContextManager[Any]]
) -> int:
    """The bytes that embedding a sequence of `tokens` tokens leaves in memory for its backward pass.

    For long sequences they follow from two shorter ones: a share grows with the length, and one (scores, where a kernel
    keeps them) with its square.
    """
    if tokens <= MEASURED[-1]:
        return _measured(embedder, tokens, autocast)
    (short, long), (few, many) = MEASURED, (_measured(embedder, length, autocast) for length in MEASURED)
    square = max(0.0, (many / long - few / short) / (long - short))
    return int(tokens * (many / long + square * (tokens - long)))


def _measured(embedder: Network, tokens: int, autocast: Callable[[], contextlib.AbstractContextManager[Any]]) -> int:
    """The bytes of a sequence: those of three less those of two, so that weights and their copies cancel out.

    One token is padding: some kernels keep a mask where there is any.
    """
    device = next(embedder.parameters()).device
    sizes = []
    for sequences in (2, 3):
        held: dict[int, torch.UntypedStorage] = {}  # keeps the storages alive, so that no address is used twice

        def note(tensor: torch.Tensor, held: dict[int, torch.UntypedStorage] = held) -> torch.Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        ids = torch.zeros((sequences, tokens), dtype=torch.int64, device=device)
        mask = torch.ones_like(ids)
        mask[0, -1] = int(tokens == 1)
        with autocast(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            embedder.encode({"input_ids": ids, "attention_mask": mask})
        sizes.append(sum(storage.nbytes() for storage in held.values()))
    return sizes[1] - sizes[0]
