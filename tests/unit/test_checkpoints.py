"""Checkpoints are whole or ignored, bounded, and named by everything that a training depends on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from embedtune.core import run_folder
from embedtune.core.errors import EmbedTuneError
from embedtune.training import checkpoints
from embedtune.training.loop import Record


def write(run: Path, step: int) -> Path:
    target = checkpoints.folder(run, step)
    state = {"step": torch.tensor(step)}
    checkpoints.write(target, lambda directory: (directory / "model.safetensors").write_bytes(bytes(step)), state)
    return target


def steps(run: Path) -> list[str]:
    return [path.name for path in checkpoints.complete(run)]


def test_the_state_comes_back_and_the_last_is_last(tmp_path: Path) -> None:
    for step in (5, 100, 20):
        write(tmp_path, step)
    assert steps(tmp_path) == ["step-000005", "step-000020", "step-000100"]
    assert checkpoints.read_state(checkpoints.complete(tmp_path)[-1]) == {"step": torch.tensor(100)}


@pytest.mark.parametrize("damage", ["no marker", "cut weights", "no weights", "cut state", "torn marker", "no folder"])
def test_a_torn_checkpoint_is_none(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 5)
    torn = write(tmp_path, 10)
    assert steps(tmp_path)[-1] == "step-000010"
    if damage == "no marker":
        (torn / "complete.json").unlink()
    elif damage == "cut weights":
        (torn / "model.safetensors").write_bytes(b"123")
    elif damage == "no weights":
        (torn / "model.safetensors").unlink()
    elif damage == "cut state":
        (torn / "state.pt").write_bytes((torn / "state.pt").read_bytes()[:-1])
    elif damage == "torn marker":
        (torn / "complete.json").write_text('{"model.safe')
    else:
        shutil.rmtree(torn)
    assert steps(tmp_path) == ["step-000005"]


def test_a_failure_while_writing_leaves_the_earlier_ones(tmp_path: Path) -> None:
    write(tmp_path, 5)

    def fail(directory: Path) -> None:
        (directory / "half").write_text("half")
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        checkpoints.write(checkpoints.folder(tmp_path, 10), fail, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000005"]


@pytest.mark.parametrize(
    ("keep_last", "improvements", "left"),
    [
        (2, [], [3, 4]),
        (1, [4], [4]),
        (1, [2], [2, 4]),
        (2, [1, 4], [1, 3, 4]),  # whoever goes on from 3 may end with 1
        (None, [1], [1, 2, 3, 4]),
        (9, [], [1, 2, 3, 4]),
    ],
)
def test_the_last_stay_and_the_best_of_each(
    tmp_path: Path, keep_last: int | None, improvements: list[int], left: list[int]
) -> None:
    for step in (1, 2, 3, 4):
        write(tmp_path, step)
    checkpoints.rotate(tmp_path, keep_last, Record(step=4, improvements=improvements).best_until)
    assert steps(tmp_path) == [f"step-{step:06d}" for step in left]
    assert len(list(tmp_path.iterdir())) == len(left)


@pytest.mark.parametrize("file", ["model.safetensors", "state.pt"])
def test_a_file_of_other_bytes_is_found(tmp_path: Path, file: str) -> None:
    """Such as a block of zeros after a crash: the sizes are right."""
    checkpoint = write(tmp_path, 5)
    assert checkpoints.damaged(checkpoint) is None
    (checkpoint / file).write_bytes(b"x" * (checkpoint / file).stat().st_size)
    assert steps(tmp_path) == ["step-000005"]
    assert checkpoints.damaged(checkpoint) == file


def test_a_finished_run_cannot_be_continued(tmp_path: Path) -> None:
    run = tmp_path / "run"
    kept = write(run, 5)
    checkpoints.finish(run, keep_models=True)
    assert [path.name for path in kept.iterdir()] == ["model.safetensors"]
    assert checkpoints.complete(run) == []
    checkpoints.finish(run, keep_models=False)
    assert not run.exists()


def test_a_second_trainer_is_refused_and_what_a_killed_one_left_is_removed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / ".step-000005.partial").mkdir(parents=True)
    (run / ".choices.json.partial").touch()
    with checkpoints.locked(run):
        assert list(run.iterdir()) == []
        refused = pytest.raises(EmbedTuneError, match=r"run: process \d+ is still writing it")
        with refused, checkpoints.locked(run):
            pass


def named(root: Path, **changes: Any) -> str:
    files = {"data/train.jsonl": "rows", "base/model.safetensors": "weights", "code/loss.py": "code"} | changes
    shutil.rmtree(root, ignore_errors=True)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return name_of(root, "1")


def name_of(root: Path, learning_rate: str) -> str:
    inputs = [root / "data/train.jsonl", root / "base", root / "code"]
    return run_folder.run_name(run_folder.describe_run("finetuned", {"train": learning_rate}, "cpu fp32 1", inputs))


def test_the_name_of_a_run_depends_on_settings_data_weights_and_code(tmp_path: Path) -> None:
    root = tmp_path / "project"
    name = named(root)
    assert named(root) == name
    assert name_of(root, "2") != name
    for changed in ("data/train.jsonl", "base/model.safetensors", "code/loss.py", "base/new"):
        assert named(root, **{changed: "other"}) != name, changed
    assert named(root, **{"code/__pycache__/loss.pyc": "compiled"}) == name
