"""A checkpoint that the disk has damaged: training goes on from the one before it, and ends as it would have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedtune.evaluation.dev_evaluation import EvaluationSet
from tests.golden.test_dev_evaluation import dev, scripted
from tests.golden.training import Data, assert_equal_runs, run, training_set, weights

__all__ = ["dev"]  # a fixture
OPTIONS = {"save_strategy": "steps", "save_total_limit": 2, "num_train_epochs": 3}


def damage(file: Path) -> None:
    """Zeros in place of the bytes, as a crash leaves them; the size is right."""
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("file", ["state.pt", "model.safetensors"])
def test_training_goes_on_from_the_checkpoint_before(
    base: Path, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    questions = training_set(base, data)
    expected = run(base, questions, tmp_path, **OPTIONS)
    damage(tmp_path / "run" / "step-000012" / file)
    assert_equal_runs(run(base, questions, tmp_path, **OPTIONS), expected)
    said = capsys.readouterr().err
    assert f"step-000012/{file} is damaged; the training does not go on from step 12 but from before it" in said
    assert "going on from step 10 of 12" in said
    for checkpoint in (tmp_path / "run").glob("step-*"):
        damage(checkpoint / file)
    assert_equal_runs(run(base, questions, tmp_path, **OPTIONS), expected)
    assert "going on from" not in capsys.readouterr().err


def test_the_best_before_it_is_still_there(
    base: Path, data: Data, dev: EvaluationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 12 was the best and is lost; evaluated again it is not, and the training ends with step 2, kept for that."""
    questions, options = training_set(base, data), {**OPTIONS, "eval_strategy": "steps"}
    seen = scripted(monkeypatch, [0.5, 0.1, 0.1, 0.1, 0.1, 0.9])
    run(base, questions, tmp_path, dev=dev, **options)
    assert {path.name for path in (tmp_path / "run").glob("step-*")} == {"step-000002", "step-000010", "step-000012"}
    damage(tmp_path / "run" / "step-000012" / "state.pt")
    scripted(monkeypatch, [0.3])
    trained = run(base, questions, tmp_path, dev=dev, **options)
    assert trained.record.best_step == 2
    assert all(torch.equal(tensor, seen[0][name]) for name, tensor in weights(trained).items())
    damage(tmp_path / "run" / "step-000002" / "model.safetensors")
    scripted(monkeypatch, [0.5, 0.1, 0.1, 0.1, 0.1, 0.2])
    assert len(run(base, questions, tmp_path, dev=dev, **options).record.evaluations) == 6, "from the beginning"
