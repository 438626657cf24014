"""Several training processes: starting them with torchrun, and what they tell each other.

In a world of one process every function here is the identity and costs nothing. Gradients are summed, never averaged:
each process computes its own questions' share of the loss of the whole batch (see objectives), so that the sum is the
gradient that one process would have computed, not 1/W of it.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from embedtune.errors import EmbedTuneError

T = TypeVar("T")

BUCKET_ELEMENTS = 16_777_216  # gradients summed in one message: 64 MB in fp32
SHUTDOWN_SECONDS = 600  # after a request to stop: for the end of a step and a checkpoint
TIMEOUT = datetime.timedelta(hours=2)  # a process may wait this long for another that searches or writes


def processes_per_node(wanted: int | str) -> int:
    """`wanted`, or for "auto" one process a GPU (one where there is none).

    Raises EmbedTuneError for more processes than there are GPUs, if there are any.
    """
    gpus = torch.cuda.device_count()
    if wanted != "auto" and 0 < gpus < int(wanted):
        raise EmbedTuneError(
            f"params.yaml: train.nproc_per_node: expected auto or at most {gpus}, the GPUs in sight, got {wanted}"
        )
    return max(1, gpus) if wanted == "auto" else int(wanted)


def is_launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def several_nodes() -> bool:
    """Whether torchrun's own environment variables ask for more than one machine (PET_NNODES)."""
    return os.environ.get("PET_NNODES", "1") not in ("", "1", "1:1")


def launch(module: str, arguments: list[str], processes: int, across_machines: bool = False) -> None:
    """Run `python -m module *arguments` in `processes` processes on this machine and wait for them.

    With `across_machines`, torchrun's environment variables (PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and so on) may
    join those of other machines to them. Raises EmbedTuneError when a process fails; it has said why.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, parse_args

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the processes' own messages say more
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    alone = ["--nnodes", "1", "--node-rank", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    where = [] if across_machines and several_nodes() else [*alone, "--rdzv-id", str(os.getpid())]
    config, command, command_arguments = config_from_args(
        parse_args([*where, "--nproc-per-node", str(processes), "--module", module, *arguments])
    )
    config.shutdown_timeout = SHUTDOWN_SECONDS
    try:
        elastic_launch(config, command)(*command_arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise EmbedTuneError(f"process {rank} of {module} ended with exit code {failure.exitcode}") from error
    except SignalException as error:
        raise EmbedTuneError(f"{module} was stopped; `dvc repro` goes on from its last checkpoint") from error


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes, if torchrun started this one."""
    if not is_launched():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    yield
    dist.destroy_process_group()  # not after an error: it would wait for processes that wait for this one


def wait() -> None:
    """Go on when every process has come here."""
    gather_objects(None)


def share(count: int) -> NDArray[np.int64]:
    """Which of `count` things are this process's: every W-th."""
    return np.arange(rank(), count, world_size())


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and speaks."""
    return rank() == 0


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """All processes' tensors (n, …) of one shape, in the order of their ranks: (W * n, …). No gradient flows."""
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        ctx.rows = len(tensor)
        return gather(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        start = rank() * ctx.rows
        return add_up(gradient.contiguous())[start : start + ctx.rows]


def gather_with_gradient(tensor: torch.Tensor) -> torch.Tensor:
    """As `gather`; the gradient of a process's rows is the sum of what all processes' losses give them."""
    return tensor if world_size() == 1 else _Gather.apply(tensor)


def gather_objects(value: T) -> list[T]:
    """Every process's `value`, in the order of their ranks."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def from_main(value: T) -> T:
    """The main process's `value`, on every process."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true on some process."""
    if world_size() == 1:
        return flag
    return bool(add_up(torch.tensor(float(flag), device=device)).item())


def add_up_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Sum the gradients over all processes, in place; a parameter without one on every process is left alone."""
    if world_size() == 1:
        return
    for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        for gradient, total in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(total.view_as(gradient))


def share_weights(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the main process's weights, in place."""
    if world_size() > 1:
        for parameter in parameters:
            dist.broadcast(parameter.data, src=0)


def _buckets(tensors: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size + tensor.numel() > BUCKET_ELEMENTS or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket
