"""How often dev is evaluated within a share of the training's cost."""

from __future__ import annotations

import pytest

from embedtune.training.evaluation_budget import Budget, evaluation_budget

DUE = [10, 20, 30, 40]


def cost(top: int) -> int:
    return 100 + 20 * top


@pytest.mark.parametrize(
    ("training_tokens", "steps", "top"),
    [
        (1600, (10, 20, 30, 40), 10),  # 4 x 300 tokens are a quarter of 3 x 1600
        (1599, (20, 30, 40), 10),
        (800, (20, 40), 10),
        (799, (20, 40), 9),
        (320, (20, 40), 1),
        (319, (40,), 6),  # not even two of one rank: one, of as many as it may cost
        (10, (40,), 1),  # whatever it costs
    ],
)
def test_evaluations_become_fewer_and_then_smaller(training_tokens: int, steps: tuple[int, ...], top: int) -> None:
    budget = evaluation_budget(DUE, 10, cost, training_tokens, 0.25)
    assert (budget.steps, budget.top) == (steps, top)
    assert budget.share == pytest.approx(len(steps) * cost(top) / (3 * training_tokens))
    assert budget.share <= 0.25 or budget == Budget((40,), 1, budget.share)


def test_a_single_evaluation_stays() -> None:
    assert evaluation_budget([7], 5, cost, 1, 0.1).steps == (7,)


@pytest.mark.parametrize("count", range(1, 8))
def test_evaluations_that_stay_are_spread_and_end_with_the_last(count: int) -> None:
    due = list(range(1, 8))
    steps = evaluation_budget(due, 1, lambda top: 30, 10 * count, 1.0).steps
    assert len(steps) == count and steps[-1] == 7
    gaps = [after - before for before, after in zip((0, *steps), steps, strict=False)]
    assert max(gaps) - min(gaps) <= 1
