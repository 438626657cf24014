"""What `embedtune clean` lists and removes, and what it leaves alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embedtune.commands import clean
from embedtune.config import paths
from embedtune.config.reading import load_params, value_text
from embedtune.core import files, locks
from embedtune.core.run_folder import describe_run, description_file, run_name, write_description

ROOT = Path(__file__).parents[2]
MINED = Path("data/mined/finetuned.jsonl")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    clean._hash.cache_clear()
    MINED.parent.mkdir(parents=True)
    MINED.write_text("rows")
    return tmp_path


def training(name: str = "finetuned", *, finished: bool = False, machine: str = "cuda bf16 8") -> Path:
    """The scratch folder of a training by the parameters and data of now, with a checkpoint and a TensorBoard log."""
    parameters = {"train": value_text(load_params(), "train")}
    description = describe_run(name, parameters, machine, [MINED])
    run = paths.CHECKPOINTS / run_name(description)
    for folder in (run / "step-000010", paths.TENSORBOARD / run.name):
        folder.mkdir(parents=True)
        (folder / "content").write_text("content")
    write_description(run, description, finished=finished)
    return run


def edit(old: str, new: str) -> None:
    text = paths.PARAMS.read_text(encoding="utf-8")
    assert old in text
    paths.PARAMS.write_text(text.replace(old, new), encoding="utf-8")


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Path -> reason, as printed."""
    clean.main(list(arguments))
    lines = [line[10:] for line in capsys.readouterr().out.splitlines() if ": " in line]
    return {path: reason for path, _, reason in (line.partition(": ") for line in lines)}


def test_a_killed_training_that_dvc_repro_resumes_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Even where it ran on other hardware than this."""
    run = training()
    clean.main(["--yes"])
    assert capsys.readouterr().out == "nothing to remove\n"
    assert run.exists() and description_file(run).exists()
    MINED.unlink()  # a clone without its data cannot tell
    clean._hash.cache_clear()
    assert listed(capsys) == {}


def test_of_a_finished_training_the_log_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = training(finished=True)
    found = {str(run): "models of a finished training, from which nothing resumes"}
    assert listed(capsys) == found
    assert run.exists(), "it was only listed"
    assert listed(capsys, "--yes") == found
    assert not run.exists() and (paths.TENSORBOARD / run.name).exists()
    assert listed(capsys, "--yes") == {}


@pytest.mark.parametrize("change", ["parameters", "data", "round", "no description"])
def test_what_nothing_current_needs_is_removed_whole(
    project: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    run = training("old" if change == "round" else "finetuned")
    if change == "parameters":
        edit("weight_decay: 0.0 ", "weight_decay: 0.1 ")
    elif change == "data":
        MINED.write_text("other rows")
    elif change == "no description":
        description_file(run).unlink()
    reason = {
        "parameters": "of other parameters (train)",
        "data": f"of other data, models or code ({MINED})",
        "round": "of old, which params.yaml no longer has",
        "no description": "of an earlier version of the code",
    }[change]
    found = listed(capsys, "--yes")
    assert found.pop(str(run)) == reason
    assert found.pop(str(paths.TENSORBOARD / run.name)) == f"the log of a training {reason}"
    assert found.keys() == ({str(description_file(run))} if change != "no description" else set())
    assert list(paths.CHECKPOINTS.iterdir()) == []
    assert list(paths.TENSORBOARD.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_the_users_files_are_not(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = [Path("models/.finetuned.partial/model.safetensors"), Path("data/embeddings/.base.lock")]
    own = [Path("data/local/.notes.partial"), Path("models/local/.x.lock"), Path("models/base/config.json")]
    good = Path("models/.base2.old.partial/model.safetensors")  # renamed aside, and its successor never came
    for path in (*left, *own, good):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert listed(capsys, "--yes") == {
        "data/embeddings/.base.lock": "the lock of a process that was killed",
        "models/.finetuned.partial": "not finished by a process that was killed",
    }
    assert all(path.exists() for path in (*own, good))
    assert not any(path.exists() for path in left)


def test_nothing_is_removed_that_a_process_has_locked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = training(finished=True)
    with files.atomic_directory(paths.model("finetuned")) as partial, locks.locked(run):
        (partial / "half").write_text("half")
        assert listed(capsys, "--yes") == {}
        assert run.exists() and (partial / "half").exists()
    assert str(run) in listed(capsys, "--yes")
    assert not run.exists()


def test_a_lock_that_is_taken_after_the_listing_counts_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = training(finished=True)
    [item] = clean.removable(load_params())
    with locks.locked(run):
        assert not clean._remove(item)
    assert "is still writing it" in capsys.readouterr().err
    assert run.exists()
