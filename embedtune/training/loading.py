"""Batches from the data loader, whose workers prepare them beside the training.

A worker sends its batches as NumPy arrays, through a pipe. Tensors would go through /dev/shm, which containers keep
small (Docker's default is 64 MB, less than one large batch): a worker that finds no room there prints a traceback and
sends nothing, and the training waits for ever.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from embedtune.compute.processes import end_with_parent, processor_count
from embedtune.core import cli
from embedtune.core.errors import ParameterError
from embedtune.training.batches import BatchSampler, ExampleSet, tensors_of
from embedtune.training.stopping import ignore_ctrl_c


def batches(
    training_set: ExampleSet, sampler: BatchSampler, pad_id: int, multiple_of: int, workers: int
) -> Iterator[Any]:
    """The sampler's batches with tensors; token sequences are padded to a multiple of `multiple_of` tokens.

    At most so many of the `workers` that are asked for are started that all processes of this machine have one
    processor for each.
    """
    started = _workers_here(workers)
    loader: DataLoader[Any] = DataLoader(
        training_set,  # type: ignore[arg-type]  # it has what a Dataset has
        batch_sampler=sampler,
        collate_fn=functools.partial(training_set.collate, pad_id=pad_id, multiple_of=multiple_of),
        num_workers=started,
        worker_init_fn=functools.partial(_prepare_worker, parent=os.getpid()),
        multiprocessing_context="fork" if started else None,  # so that this process is the workers' parent
    )
    return map(tensors_of, iter(loader))


@contextlib.contextmanager
def worker_deaths_explained() -> Iterator[None]:
    """Raise ParameterError in place of the loader's error about a worker that ended, which may come at any line."""
    try:
        yield
    except RuntimeError as error:
        died = re.search(r"DataLoader worker \(pid.*", str(error))
        if not died:
            raise
        raise ParameterError(
            "dataloader_num_workers",
            f"a process that prepares batches has ended ({died[0].strip()}), most likely for lack of memory; "
            "lower it, or write 0",
        ) from error


def _workers_here(wanted: int) -> int:
    """How many workers each process starts: `wanted`, or fewer where the machine lacks the processors."""
    processors, processes = processor_count(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    started = min(wanted, max(1, processors // processes))
    if started < wanted:
        cli.say_once(
            f"train: {started} of the {wanted} processes that dataloader_num_workers asks for are started beside each "
            f"training process: the machine has {processors} processors"
        )
    return started


def _prepare_worker(worker: int, parent: int) -> None:
    ignore_ctrl_c(worker)
    end_with_parent(parent)
