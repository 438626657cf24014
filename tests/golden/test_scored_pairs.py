"""Losses on scored pairs: by hand, against sentence-transformers, in chunks and under accumulation, and resumed."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import losses

from embedtune.mining.mined_rows import MinedRow
from embedtune.training.objectives.scored_pairs import (
    LEAST_SCALE,
    ScoredPairs,
    bixse,
    cosent,
    fitted_scale,
    start_of,
    weighted_mse,
)
from embedtune.training.training_data import TrainingSet
from tests.golden.training import Data, assert_equal_runs, run, training_set, weights

RELS = torch.tensor([1.0, 0.5, 0.0, 0.2])
SCORES = torch.tensor([0.7, 0.6, 0.1, 0.3])
ONES = torch.ones(4)


def test_weighted_mse_by_hand() -> None:
    loss, right = weighted_mse(SCORES, RELS, torch.tensor([2.0, 1.0, 1.0, 4.0]))
    assert loss.item() == pytest.approx((2 * 0.09 + 0.01 + 0.01 + 4 * 0.01) / 8, rel=1e-6)
    assert right.item() == pytest.approx(6 / 8)


def test_cosent_by_hand() -> None:
    scores, rels = torch.tensor([2.0, 1.0]), torch.tensor([0.1, 0.9])
    loss, ordered = cosent(scores, rels, torch.tensor([0.5, 3.0]))
    assert loss.item() == pytest.approx(math.log(1 + 0.5 * 3 * math.exp(2.0 - 1.0)), rel=1e-6)
    assert ordered == 0
    assert cosent(scores, torch.tensor([0.5, 0.5]), torch.ones(2))[0] == 0, "without an order there is nothing to learn"


def test_bixse_by_hand() -> None:
    logits, rels = torch.tensor([[2.0, -1.0], [0.5, 1.0]]), torch.tensor([0.8, 0.3])

    def entropy(logit: float, label: float) -> float:
        p = 1 / (1 + math.exp(-logit))
        return -label * math.log(p) - (1 - label) * math.log(1 - p)

    rows = (entropy(2, 0.8) + entropy(-1, 0), entropy(0.5, 0) + entropy(1, 0.3))
    nowhere = torch.zeros(2, 2, dtype=torch.bool)
    loss, _ = bixse(logits, rels, torch.tensor([1.0, 3.0]), nowhere)
    assert loss.item() == pytest.approx((rows[0] + 3 * rows[1]) / 4, rel=1e-6)
    judged = torch.tensor([[False, True], [False, False]])
    loss, _ = bixse(logits, rels, torch.ones(2), judged)
    assert loss.item() == pytest.approx((entropy(2, 0.8) + rows[1]) / 2, rel=1e-6)


@pytest.mark.parametrize("objective", ["weighted_mse", "bixse"])
def test_training_begins_with_predictions_that_are_right_in_the_mean(objective: str) -> None:
    rows = [MinedRow("q", "", [0], [], rel=r, mining_score=c) for r, c in ((0.9, 0.85), (0.1, 0.75), (0.2, 0.8))]
    scale, bias = start_of(rows, objective, temperature=0.05)
    predicted = scale * np.array([0.85, 0.75, 0.8]) + bias
    predicted = 1 / (1 + np.exp(-predicted)) if objective == "bixse" else predicted
    assert predicted.mean() == pytest.approx(0.4, abs=1e-6)
    assert objective == "weighted_mse" or scale == pytest.approx(20)


class Given(torch.nn.Module):
    """A sentence-transformers model whose embeddings are given."""

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features}


@pytest.mark.parametrize("name", ["weighted_mse", "cosent"])
def test_without_weights_losses_and_gradients_are_sentence_transformers(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, passages = (torch.randn(6, 8, generator=generator).requires_grad_() for _ in range(2))
    rels = torch.rand(6, generator=generator)
    theirs = losses.CosineSimilarityLoss(Given()) if name == "weighted_mse" else losses.CoSENTLoss(Given(), scale=20.0)
    expected = theirs([queries, passages], rels)
    batch: Any = {"rels": rels, "weights": torch.ones(6)}
    terms = ScoredPairs(name, temperature=0.05).loss(
        SimpleNamespace(),
        {"queries": queries, "passages": passages},
        batch,  # type: ignore[arg-type]
    )
    assert terms.weight == 6
    assert (terms.total / 6).item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, peers in zip(
        torch.autograd.grad(terms.total / 6, (queries, passages)),
        torch.autograd.grad(expected, (queries, passages)),
        strict=True,
    ):
        torch.testing.assert_close(ours, peers, rtol=1e-4, atol=1e-6)


def test_the_scale_that_fits_cosines_to_relevances() -> None:
    cosines = np.array([0.7, 0.8, 0.9])
    scale, bias = fitted_scale(cosines, np.array([0.0, 0.5, 1.0]), np.ones(3))
    assert (scale, bias) == (pytest.approx(5.0), pytest.approx(-3.5))
    scale, bias = fitted_scale(cosines, np.array([1.0, 0.5, 0.0]), np.array([1.0, 1.0, 2.0]))
    assert scale == LEAST_SCALE
    assert bias == pytest.approx(np.average([1.0, 0.5, 0.0] - LEAST_SCALE * cosines, weights=[1, 1, 2]))


def scored(base: Path, data: Data) -> TrainingSet:
    """The rows of the small data set as pairs, of which every third weighs more."""
    rows = [
        MinedRow(row.query_id, row.query, row.positives[:1], [], rel=i % 5 / 4, weight=1.0 + i % 3)
        for i, row in enumerate(data.rows)
    ]
    return training_set(base, Data(data.mined, rows, data.passages), group_size=1)


OBJECTIVES = [
    ScoredPairs("weighted_mse"),
    ScoredPairs("weighted_mse", learn_scale=True, scale=2.0, bias=-0.5, matryoshka_dims=(32,)),
    ScoredPairs("cosent"),
    ScoredPairs("bixse", scale=5.0, bias=-2.5),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.objective + "-scale" * o.learn_scale)
def test_chunks_change_nothing_but_rounding(base: Path, data: Data, tmp_path: Path, objective: ScoredPairs) -> None:
    options: dict[str, Any] = {"objective": objective, "num_train_epochs": 1, "learning_rate": 1e-4}
    whole = run(base, scored(base, data), tmp_path / "whole", **options)
    chunked = run(base, scored(base, data), tmp_path / "chunks", tokens_in_memory=64, **options)
    for ours, theirs in zip(whole.record.log, chunked.record.log, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


def test_accumulated_batches_weigh_as_their_pairs_do(base: Path, data: Data, tmp_path: Path) -> None:
    """One batch of 8 against two of 4, in one step: the same weighted mean, although the halves weigh differently."""
    options: dict[str, Any] = {"objective": ScoredPairs("weighted_mse"), "num_train_epochs": 1}
    whole = run(base, scored(base, data), tmp_path / "whole", **options)
    halves = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    accumulated = run(base, scored(base, data), tmp_path / "halves", **options, **halves)
    for ours, theirs in zip(whole.record.log, accumulated.record.log, strict=False):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("objective", OBJECTIVES[1:], ids=lambda o: o.objective)
def test_a_killed_training_goes_on_bit_equal_with_its_scale(
    base: Path, data: Data, tmp_path: Path, objective: ScoredPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedtune.training.optimisation import Optimisation

    options: dict[str, Any] = {"objective": objective, "save_strategy": "steps", "save_steps": 2}
    whole = run(base, scored(base, data), tmp_path / "whole", **options)
    step = Optimisation.step

    def killed(self: Optimisation, batches: Any, number: int, *more: Any) -> Any:
        if number == 5:
            raise KeyboardInterrupt
        return step(self, batches, number, *more)

    monkeypatch.setattr(Optimisation, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(base, scored(base, data), tmp_path / "killed", **options)
    monkeypatch.setattr(Optimisation, "step", step)
    resumed = run(base, scored(base, data), tmp_path / "killed", **options)
    assert_equal_runs(whole, resumed)
    assert whole.own_parameters == resumed.own_parameters
    assert weights(whole).keys() == weights(resumed).keys(), "the scale is no weight of the model"
    if objective.objective != "cosent":
        start = (2.0, -0.5) if objective.learn_scale else (5.0, -2.5)
        assert tuple(whole.own_parameters.values()) != pytest.approx(start), "it was trained"


def test_with_lora(base: Path, data: Data, tmp_path: Path) -> None:
    trained = run(base, scored(base, data), tmp_path, objective=ScoredPairs("weighted_mse"), method="lora")
    assert trained.record.log[-1]["loss"] < trained.record.log[0]["loss"]
