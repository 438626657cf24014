"""What a training is told for: nothing changed, the loss did not fall, dev got worse; what to try then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedtune.comparison.choice import advice, choose
from embedtune.models.weight_change import relative_change
from embedtune.training.fine_tune import write_tuned
from embedtune.training.loop import Record
from embedtune.training.outcome import warnings
from tests.golden.training import Data, run, training_set


def record(losses: list[float], dev: list[float]) -> Record:
    return Record(
        log=[{"step": i, "loss": loss} for i, loss in enumerate(losses, start=1)],
        evaluations=[{"step": i, "ndcg@10": value} for i, value in enumerate(dev, start=1)],
    )


FALLING = [2.0, 1.5, 1.2, 1.0]


@pytest.mark.parametrize(
    ("losses", "dev", "change", "said"),
    [
        (FALLING, [0.6, 0.7], 1e-3, []),
        (FALLING, [], 0.0, ["it changed nothing"]),
        (FALLING, [], 1e-8, ["it changed nothing"]),
        ([1.0, 1.5, 1.2, 1.0], [0.7], 1e-3, ["the loss did not fall: 1 at first, 1 at last"]),
        ([1.0, 2.0], [], 1e-3, []),
        (FALLING, [0.3, 0.49], 1e-3, ["no checkpoint is as good as the base model: ndcg@10 0.4900 at best, 0.5000"]),
        ([1.0] * 8, [0.1], 0.0, ["it changed nothing", "the loss did not fall", "no checkpoint"]),
    ],
)
def test_each_reason_to_doubt_is_told(losses: list[float], dev: list[float], change: float, said: list[str]) -> None:
    found = list(warnings(record(losses, dev), change, "ndcg@10", 0.5))
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))


@pytest.mark.parametrize("options", [{"learning_rate": 1e-30}, {"method": "lora", "learning_rate": 1e-30}])
def test_a_training_that_changes_nothing_is_seen_in_the_weights(
    base: Path, data: Data, tmp_path: Path, options: dict[str, Any]
) -> None:
    """An adapter begins at zero: merged, it is the base model, to the bit."""
    for name, more in (("nothing", options), ("something", {**options, "learning_rate": 1e-3})):
        trained = run(base, training_set(base, data), tmp_path / name, num_train_epochs=1, **more)
        (tmp_path / name / "model").mkdir()
        write_tuned(trained, base, tmp_path / name / "model", options.get("method", "full"))
    changes = [relative_change(base, tmp_path / name / "model") for name in ("nothing", "something")]
    assert changes[0] < 1e-6 < 1e-4 < changes[1]


def test_the_change_is_the_norm_of_the_difference_over_that_of_the_weights(base: Path, tmp_path: Path) -> None:
    weights = load_file(base / "model.safetensors")
    changed = {name: tensor + 0.01 * torch.ones_like(tensor) for name, tensor in weights.items()}
    names = sorted(changed)
    save_file({name: changed[name] for name in names[:5]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({name: changed[name] for name in names[5:]}, tmp_path / "model-00002-of-00002.safetensors")
    whole = np.concatenate([tensor.double().flatten().numpy() for tensor in weights.values()])
    moved = np.concatenate(
        [(changed[name].double() - tensor.double()).flatten().numpy() for name, tensor in weights.items()]
    )
    assert relative_change(base, tmp_path) == pytest.approx(np.linalg.norm(moved) / np.linalg.norm(whole), rel=1e-9)
    assert relative_change(base, base) == 0


def test_what_to_try_is_said_where_the_baseline_is_released() -> None:
    base = np.tile([0.0, 1.0], 20)
    better = choose("tuned", "base", base + 0.5, base, "ndcg@10")
    assert advice(better, ["it changed nothing"]) == []
    alike = choose("tuned", "base", base, base, "ndcg@10")
    assert "both rank dev alike" in advice(alike, ["it changed nothing"])[1]
    perfect = choose("tuned", "base", np.ones(40), np.ones(40), "ndcg@10")
    assert advice(perfect, [])[0].startswith("the baseline is right on every dev question already")
    hardly = choose("tuned", "base", base + np.tile([0.3, -0.28], 20), base, "ndcg@10")
    enough = int(np.ceil(40 * (hardly["standard_error"] / hardly["gain"]) ** 2))
    assert f"takes more than {enough} dev questions" in advice(hardly, [])[0]
    worse = choose("tuned", "base", base - 0.5, base, "ndcg@10")
    assert advice(worse, ["the loss did not fall"]) == [
        "the loss did not fall",
        'docs/training.md, "It got worse", has what helped others',
    ]
