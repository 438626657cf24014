"""Distributed training: launch the processes with torchrun, and their collective operations.

With a world size W of 1, the collective operations return their input at no cost. Gradients are summed, not averaged:
each process computes its own queries' part of the loss over the global batch (see training/objectives.py). Their sum
is the gradient that a single process would have computed; the average would be 1/W of it.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from embedtune.compute.processes import end_with_parent, processor_count
from embedtune.core.errors import EmbedTuneError, ParameterError

T = TypeVar("T")

BUCKET_ELEMENTS = 16_777_216  # of the gradients that one all-reduce sums: 64 MB in fp32
SHUTDOWN_SECONDS = 600  # after a request to stop: time to finish a step and write a checkpoint
LAUNCHER = "EMBEDTUNE_LAUNCHER"  # environment variable of the processes that `launch` started: its own process id
TIMEOUT = datetime.timedelta(hours=2)  # the longest wait for another process, which may be searching or writing


def processes_per_node(wanted: int | str) -> int:
    """The number of processes to launch on this machine: `wanted`, or for "auto" one per GPU (1 without a GPU).

    Raises ParameterError when `wanted` is more than the GPUs in sight or, without a GPU, than the machine's processors.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    most, what = (gpus, "GPUs in sight") if gpus else (processor_count(), "processors of this machine")
    if wanted != "auto" and int(wanted) > most:
        raise ParameterError("nproc_per_node", f"expected auto or at most {most}, the {what}, got {wanted}")
    return max(1, gpus) if wanted == "auto" else int(wanted)


def is_launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def several_nodes() -> bool:
    """Whether torchrun's environment variable PET_NNODES asks for more than one machine."""
    return os.environ.get("PET_NNODES", "1") not in ("", "1", "1:1")


def launch(module: str, arguments: list[str], processes: int, across_machines: bool = False) -> None:
    """Run `python -m module *arguments` in `processes` processes on this machine and wait for them.

    With `across_machines`, torchrun's environment variables (PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR and so on) may
    join these processes with those of other machines. Raises EmbedTuneError when a process fails, which has then
    printed the reason itself, or when a signal stops the launch.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, parse_args

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the processes' own messages say more
    os.environ[LAUNCHER] = str(os.getpid())
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
        raise EmbedTuneError(f"{module} was stopped; the next run goes on from its last checkpoint") from error


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Initialise the default process group if torchrun started this process; otherwise do nothing.

    A process that `launch` started ends with its launcher.
    """
    if not is_launched():
        yield
        return
    if LAUNCHER in os.environ:
        end_with_parent(int(os.environ[LAUNCHER]))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    yield
    dist.destroy_process_group()  # not after an error: this process would wait for others that wait for it


def barrier() -> None:
    """Wait until every process has reached this call."""
    all_gather_objects(None)


def indices_of_rank(count: int) -> NDArray[np.int64]:
    """The indices, among `count` items, that this process handles: every W-th from its rank on; int64, shape (n,)."""
    return np.arange(rank(), count, world_size())


def rank() -> int:
    """The rank of this process, from 0 to W - 1; 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes W; 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def processes_here() -> int:
    """The number of the group's processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))


def is_main() -> bool:
    """Whether this is the process of rank 0, which writes files and prints messages."""
    return rank() == 0


def all_gather(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenate all processes' tensors (n, …), of equal shape, in rank order: (W * n, …). No gradient flows."""
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        ctx.rows = len(tensor)
        return all_gather(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        start = rank() * ctx.rows
        return all_reduce(gradient.contiguous())[start : start + ctx.rows]


def all_gather_with_gradient(tensor: torch.Tensor) -> torch.Tensor:
    """As `all_gather`, with gradients: those of a process's rows are summed over the losses of all processes."""
    return tensor if world_size() == 1 else _Gather.apply(tensor)


def all_gather_objects(value: T) -> list[T]:
    """The `value` of every process (any picklable object), in rank order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def agreed(compute: Callable[[], str]) -> str | None:
    """What `compute` gives on the first process of every machine; None if the machines differ.

    Only those processes call `compute`: it may be slow, and processes of one machine would all give the same.
    """
    first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    values = {value for value in all_gather_objects(compute() if first_here else None) if value is not None}
    return values.pop() if len(values) == 1 else None


def broadcast_from_main(value: T) -> T:
    """The `value` of rank 0, on every process."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def computed_on_main(compute: Callable[[], T]) -> T:
    """What `compute` gives on the process of rank 0, on every process.

    If it raises, every process raises: rank 0 the error itself, the others EmbedTuneError with its text. None is left
    waiting for the others.
    """
    if world_size() == 1:
        return compute()
    value: T | None = None
    failed: Exception | None = None
    if is_main():
        try:
            value = compute()
        except Exception as error:
            failed = error
    value, problem = broadcast_from_main((value, None if failed is None else str(failed) or repr(failed)))
    if failed is not None:
        raise failed
    if problem is not None:
        raise EmbedTuneError(problem)
    return cast(T, value)


def all_reduce(tensor: torch.Tensor) -> torch.Tensor:
    """Sum `tensor` over all processes in place, and return it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true on at least one process. `device` holds the tensor that is reduced."""
    if world_size() == 1:
        return flag
    return bool(all_reduce(torch.tensor(float(flag), device=device)).item())


def all_reduce_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Sum the gradients over all processes, in place.

    A parameter without a gradient is skipped. It must then have none on any process.
    """
    if world_size() == 1:
        return
    for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        for gradient, total in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(total.view_as(gradient))


def broadcast_weights(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Copy the weights of rank 0 to every process, in place."""
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
