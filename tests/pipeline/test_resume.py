"""A training that is killed, interrupted or changed: it goes on bit by bit, or begins anew."""

from __future__ import annotations

import hashlib
import os
import random
import runpy
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.forkserver import forkserver
from tests.pipeline.conftest import Project, copy

KILLS = int(os.environ.get("EMBEDTUNE_KILLS", "3"))  # the twenty of the closing note: EMBEDTUNE_KILLS=20
TRAINING = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 3, "num_train_epochs": 2}


def train(root: str, output: str) -> None:
    """The stage, in a process forked from one that has imported everything."""
    os.setpgid(0, 0)
    os.chdir(root)
    with Path(output).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.argv = ["stages/train.py", "finetuned"]
        runpy.run_module("stages.train", run_name="__main__")


@pytest.fixture(scope="module")
def start() -> Any:
    """Starts the train stage of a project in a new process; returns it and the file of what it says."""
    context = forkserver()

    def starting(project: Project) -> tuple[Any, Path]:
        output = project.root / "logs" / "output.txt"
        output.parent.mkdir(exist_ok=True)
        process = context.Process(target=train, args=(str(project.root), str(output)))
        process.start()
        return process, output

    return starting


def finish(start: Any, project: Project) -> str:
    """Run the stage to its end; what it said."""
    process, output = start(project)
    process.join()
    assert process.exitcode == 0, output.read_text()
    return output.read_text()


def outputs(project: Project) -> dict[str, str]:
    """A hash of everything the stage writes that is the same on every run."""
    files = [p for p in sorted((project.root / "models" / "finetuned").rglob("*")) if p.is_file()]
    files += [project.root / "metrics" / path for path in ("training/finetuned.json", "plots/training/finetuned.csv")]
    return {str(p.relative_to(project.root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def trainable(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = copy(finished, tmp_path_factory.mktemp("trainable") / "project")
    project.edit(train=TRAINING)
    return project


def untrained(trainable: Project, target: Path) -> Project:
    """A copy without what earlier trainings left: what there is then is of the training under test."""
    project = copy(trainable, target)
    for left in ("checkpoints", "logs"):
        shutil.rmtree(project.root / left, ignore_errors=True)
    return project


@pytest.fixture(scope="module")
def expected(trainable: Project, start: Any) -> tuple[dict[str, str], float]:
    """What an uninterrupted run writes, and its seconds."""
    finish(start, trainable)
    started = time.perf_counter()
    finish(start, trainable)
    return outputs(trainable), time.perf_counter() - started


def test_a_training_killed_at_any_moment_ends_with_the_same_bits(
    trainable: Project, expected: tuple[dict[str, str], float], start: Any, tmp_path: Path
) -> None:
    bits, seconds = expected
    moments = random.Random(0)
    resumed = 0
    for number in range(KILLS):
        project = copy(trainable, tmp_path / str(number))
        process, _ = start(project)
        process.join(moments.uniform(0.2, 1) * seconds)
        process.kill()
        process.join()
        said = finish(start, project)
        resumed += "going on from step" in said
        assert outputs(project) == bits, f"kill {number}"
    assert resumed >= KILLS // 4, "else the moments were too early to show anything"


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_saves_and_says_how_to_go_on(trainable: Project, start: Any, tmp_path: Path, workers: int) -> None:
    """A terminal sends it to the whole process group, the data loader's workers too."""
    project = untrained(trainable, tmp_path / "project")
    training = {"save_strategy": "no", "eval_strategy": "no", "dataloader_num_workers": workers}
    project.edit(train=training | {"num_train_epochs": 6})
    process, output = start(project)
    wait_for_steps(project, process)
    os.killpg(process.pid, signal.SIGINT)
    process.join()
    said = output.read_text()
    assert process.exitcode == 1
    assert "stopped after step" in said
    assert "`dvc repro` goes on from there" in said
    assert "Traceback" not in said
    assert "going on from step" in finish(start, project)


def wait_for_steps(project: Project, process: Any) -> None:
    while process.is_alive() and not list(project.root.glob("logs/tensorboard/*/events*")):
        time.sleep(0.01)
    time.sleep(0.5)


@pytest.mark.parametrize("change", ["params", "data", "code", "weights"])
def test_what_has_changed_begins_anew(trainable: Project, start: Any, tmp_path: Path, change: str) -> None:
    project = untrained(trainable, tmp_path / "project")
    process, output = start(project)
    while not list(project.root.glob("checkpoints/*/step-*/complete.json")):
        assert process.is_alive(), output.read_text()
        time.sleep(0.01)
    process.kill()
    process.join()
    if change == "params":
        project.edit(train={"learning_rate": 1e-3})
    else:
        path = (
            project.root
            / {
                "data": "data/mined/finetuned.jsonl",
                "code": "embedtune/training/objectives/contrastive.py",
                "weights": "models/base/README.md",
            }[change]
        )
        path.write_text((path.read_text() if path.exists() else "") + "\n")
    assert "going on from step" not in finish(start, project)


def test_a_second_trainer_is_refused(trainable: Project, start: Any, tmp_path: Path) -> None:
    project = untrained(trainable, tmp_path / "project")
    first, output = start(project)
    while not list(project.root.glob("checkpoints/*/step-*")):
        assert first.is_alive(), output.read_text()
        time.sleep(0.01)
    second, _ = start(project)
    second.join()
    first.join()
    assert (first.exitcode, second.exitcode) == (0, 1)
    assert f"process {first.pid} is still writing it" in output.read_text()
