"""Two and four processes (gloo) against one: gradients, whole trainings, and a lack of memory on one of them."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from embedtune.compute import distributed
from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.training.objectives.scored_pairs import ScoredPairs
from embedtune.training.optimisation import Optimisation
from tests.forkserver import forkserver
from tests.golden.training import Data, first_gradients, largest_difference, run, training_set

BATCH = 8
TRAININGS: dict[str, dict[str, Any]] = {
    "cross_device": {},
    "in_batch": {"negatives": "in_batch"},
    "masked": {"mask_false_negatives": True, "false_negative_margin": 0.1},
    "in chunks": {"tokens_in_memory": 90},
    "accumulated": {"gradient_accumulation_steps": 2},
    "group": {"negatives": "group"},
    "distilled": {"distillation": True, "matryoshka_dims": [32, 128]},
    "lora": {"method": "lora"},
    "incomplete batches": {"dataloader_drop_last": False},
    "scored pairs": {"objective": ScoredPairs("weighted_mse", learn_scale=True, scale=2.0, bias=-0.5)},
}


def small_run(base: Path, data: Data, scratch: Path, **options: Any) -> dict[str, Any]:
    """An epoch: the gradients of its first step, and the log.

    Weights are not compared: Adam makes whole steps of what rounding leaves of a gradient that is zero.
    """
    with first_gradients() as first:
        distillation = options.pop("distillation", False)
        rows = [
            replace(row, positive_scores=[2.0], negative_scores=[float(i) for i in range(len(row.negatives))])
            for row in data.rows
        ]
        if "objective" in options:
            rows = [replace(row, negatives=[], rel=i % 5 / 4, weight=1.0 + i % 3) for i, row in enumerate(data.rows)]
        group_size = 1 if "objective" in options else 4
        questions = training_set(base, replace(data, rows=rows), group_size=group_size, distillation=distillation)
        trained = run(base, questions, scratch, num_train_epochs=1, **options)
    return {"gradients": first, "log": trained.record.log}


def worker(rank: int, world: int, port: int, base: Path, data: Data, scratch: Path) -> None:
    """All scenarios in one process of the group; the first writes what came out."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    results = {
        name: small_run(base, data, scratch / name, per_device_train_batch_size=BATCH // world, **options)
        for name, options in TRAININGS.items()
    }
    results["out of memory"] = run_out_of_memory(rank, base, data, scratch / "memory", world)
    results["bad loss"] = bad_loss(base, data, scratch / "loss", world)
    results["gathered"] = distributed.all_gather(torch.full((2, 1), float(rank))).flatten().tolist()
    results["from main"] = distributed.broadcast_from_main(rank)
    results["computed"] = distributed.computed_on_main(lambda: rank + 7)
    results["failed on main"] = distributed.all_gather_objects(failing_on_main())
    if rank == 0:
        torch.save(results, scratch / "results.pt")
    dist.destroy_process_group()


def run_out_of_memory(rank: int, base: Path, data: Data, scratch: Path, world: int) -> dict[str, Any]:
    """The last process alone fails, once, in its third pass: everyone starts the step again with smaller chunks."""
    calls = 0
    step = Optimisation.step

    def failing_step(self: Optimisation, *arguments: Any) -> Any:
        encode = self.embedder.encode

        def failing(features: Any) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if rank == world - 1 and calls == 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return encode(features)

        self.embedder.encode = failing
        try:
            return step(self, *arguments)
        finally:
            self.embedder.encode = encode

    Optimisation.step = failing_step
    try:
        return small_run(base, data, scratch, per_device_train_batch_size=BATCH // world, tokens_in_memory=120)
    finally:
        Optimisation.step = step


def bad_loss(base: Path, data: Data, scratch: Path, world: int) -> str:
    """The message that every process gets."""
    options = {"learning_rate": 1e30, "warmup_ratio": 0.0, "max_grad_norm": 1e9}
    try:
        run(base, training_set(base, data), scratch, per_device_train_batch_size=BATCH // world, **options)
    except EmbedTuneError as error:
        return str(error)
    return "no error"


def failing_on_main() -> str:
    """The error that this process gets, with its kind."""

    def compute() -> None:
        raise ParameterError("eval_strategy", f"process {distributed.rank()} cannot rank")

    try:
        distributed.computed_on_main(compute)
    except EmbedTuneError as error:
        return f"{type(error).__name__} {error}"
    return "no error"


@pytest.fixture(scope="module", params=[2, 4])
def several(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, base: Path, data: Data
) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("processes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    forkserver()  # loads what the processes need before they are forked from it
    arguments = (request.param, port, base, data, scratch)
    torch.multiprocessing.start_processes(worker, arguments, nprocs=request.param, start_method="forkserver")
    return {"world": request.param, **torch.load(scratch / "results.pt", weights_only=False)}


@pytest.mark.parametrize("name", [name for name in TRAININGS if name != "in_batch"])
def test_gradient_loss_and_weights_are_those_of_one_process(
    several: dict[str, Any], base: Path, data: Data, tmp_path: Path, name: str
) -> None:
    """In incomplete batches, 37 questions leave 5 for the last step."""
    alone = small_run(base, data, tmp_path, per_device_train_batch_size=BATCH, **TRAININGS[name])
    ours = several[name]
    assert largest_difference(ours["gradients"], alone["gradients"]) < 1e-4
    if name == "incomplete batches":  # the fifth question of the last batch is left out, so that all have as many
        ours["log"], alone["log"] = ours["log"][:-1], alone["log"][:-1]
    for line, expected in zip(ours["log"], alone["log"], strict=True):
        assert line == pytest.approx(expected, abs=1e-4)


def test_the_gradient_is_not_divided_by_the_number_of_processes(
    several: dict[str, Any], base: Path, data: Data, tmp_path: Path
) -> None:
    """The norm before clipping, which Adam would hide."""
    alone = small_run(base, data, tmp_path, per_device_train_batch_size=BATCH)
    norms = [line["grad_norm"] for line in several["cross_device"]["log"]]
    assert norms == pytest.approx([line["grad_norm"] for line in alone["log"]], rel=1e-3)
    assert min(norms) > 0.1


def test_in_batch_negatives_stay_in_their_process(
    several: dict[str, Any], base: Path, data: Data, tmp_path: Path
) -> None:
    """As accumulating as many smaller batches on one process."""
    world = several["world"]
    alone = small_run(
        base, data, tmp_path, per_device_train_batch_size=BATCH // world, gradient_accumulation_steps=world
    )
    assert largest_difference(several["in_batch"]["gradients"], alone["gradients"]) < 1e-4
    assert several["in_batch"]["log"][0]["loss"] == pytest.approx(alone["log"][0]["loss"], abs=1e-5)
    assert several["in_batch"]["log"][0]["loss"] < several["cross_device"]["log"][0]["loss"] - 0.1


def test_a_lack_of_memory_on_one_process_makes_all_take_smaller_chunks(several: dict[str, Any]) -> None:
    """And the step comes out as it would have."""
    assert largest_difference(several["out of memory"]["gradients"], several["cross_device"]["gradients"]) < 1e-4
    for line, expected in zip(several["out of memory"]["log"], several["cross_device"]["log"], strict=True):
        assert line == pytest.approx(expected, abs=1e-4)


def test_a_bad_loss_names_the_questions_of_all_processes(several: dict[str, Any]) -> None:
    message = several["bad loss"]
    assert "the loss is nan at step" in message
    assert message.count("q") >= BATCH
    assert "the last good checkpoint is none" in message


def test_gathering_and_telling(several: dict[str, Any]) -> None:
    world = several["world"]
    assert several["gathered"] == [float(rank) for rank in range(world) for _ in range(2)]
    assert several["from main"] == 0
    assert several["computed"] == 7


def test_an_error_of_the_main_process_ends_the_others_too(several: dict[str, Any]) -> None:
    message = "eval_strategy: process 0 cannot rank"
    others = [f"EmbedTuneError {message}"] * (several["world"] - 1)
    assert several["failed on main"] == [f"ParameterError {message}", *others]


def test_one_process_needs_no_group() -> None:
    tensor = torch.ones(2, 3, requires_grad=True)
    assert distributed.all_gather_with_gradient(tensor) is tensor
    assert distributed.all_gather_objects("x") == ["x"]
    assert distributed.broadcast_from_main("x") == "x"
    assert distributed.any_process(True, torch.device("cpu"))
    assert distributed.indices_of_rank(5).tolist() == [0, 1, 2, 3, 4]
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
