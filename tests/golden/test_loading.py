"""Workers that prepare batches: the same ones, without shared memory; never more than processors; one may die."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from embedtune.core.errors import ParameterError
from embedtune.training import loading
from embedtune.training.batches import Batch, BatchPlan, BatchSampler, collate_arrays
from tests.golden.training import Data, training_set


def batches_by(base: Path, data: Data, workers: int) -> Any:
    plan = BatchPlan(len(data.rows), 8, processes=1, drop_last=False)
    return loading.batches(training_set(base, data), BatchSampler(plan, epochs=1, seed=1), 0, 8, workers)


def flat(batch: Batch) -> list[tuple[str, Any]]:
    sides = [(f"{side} {name}", tensor) for side in ("queries", "passages") for name, tensor in batch[side].items()]
    return [*sides, ("relevant", batch["relevant"]), ("documents", batch["documents"])]


def test_workers_give_the_same_batches(base: Path, data: Data) -> None:
    alone, beside = list(batches_by(base, data, 0)), list(batches_by(base, data, 2))
    assert len(alone) == len(beside) > 1
    for one, other in zip(alone, beside, strict=True):
        assert one["query_ids"] == other["query_ids"]
        for (name, tensor), (_, theirs) in zip(flat(one), flat(other), strict=True):
            assert tensor.dtype == torch.int64 and torch.equal(tensor, theirs), name
        assert one["scores"] is None and other["scores"] is None


def test_what_a_worker_sends_needs_no_shared_memory(base: Path, data: Data) -> None:
    questions = training_set(base, data)
    sent: dict[str, Any] = dict(collate_arrays([questions[0], questions[1]], 0, 8))
    parts = [*sent["queries"].values(), *sent["passages"].values(), sent["relevant"], sent["documents"]]
    assert all(type(part) is np.ndarray for part in parts)
    assert not any(isinstance(value, torch.Tensor) for value in sent.values())


def test_a_worker_that_is_killed_ends_the_training_with_a_word(base: Path, data: Data) -> None:
    def train() -> None:
        before = {child.pid for child in psutil.Process().children()}
        batches = batches_by(base, data, 1)
        next(batches)
        started = {child.pid for child in psutil.Process().children()} - before
        with loading.worker_deaths_explained():  # the loader's error comes at any line after this one
            for worker in started:
                os.kill(worker, signal.SIGKILL)
            list(batches)

    with pytest.raises(ParameterError, match=r"^dataloader_num_workers: a process .* has ended .*write 0$"):
        train()


def test_other_errors_are_not_taken_for_a_dead_worker() -> None:
    with pytest.raises(RuntimeError, match="shapes"), loading.worker_deaths_explained():
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(
    ("processes", "wanted", "started"), [(1, 1000, 8), (1, 3, 3), (4, 1000, 2), (16, 5, 1), (1, 0, 0)]
)
def test_no_more_workers_start_than_the_machine_has_processors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], processes: int, wanted: int, started: int
) -> None:
    monkeypatch.setattr(loading, "processor_count", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert loading._workers_here(wanted) == started
    assert ("the machine has 8 processors" in capsys.readouterr().err) == (started < wanted)
