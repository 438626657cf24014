"""How often dev is evaluated, and among how many documents, so that it costs a bounded share of the training.

Costs are counted in tokens that pass through the model, not in seconds: the same on every machine, and known before the
first step. A training step passes its tokens three times (forward, and backward for activations and for weights).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

PASSES = 3  # of a token in a training step, beside one in an evaluation
WANTED = 2  # evaluations: a smaller pool comes before fewer than these


@dataclass(frozen=True)
class Budget:
    """Dev is evaluated after each of `steps`, among documents of `top` ranks, at `share` of the training's cost."""

    steps: tuple[int, ...]
    top: int
    share: float


def evaluation_budget(
    due: list[int], top: int, cost: Callable[[int], int], training_tokens: int, most_share: float
) -> Budget:
    """The evaluations that keep to `most_share`: fewer than `due`, and then among documents of fewer ranks than `top`.

    `due` are the steps after which an evaluation was asked for, the last step among them. `cost` gives the tokens of an
    evaluation by the number of ranks, and does not fall with it. At least one evaluation is left, after the last step,
    whatever it costs: the one of a single rank.
    """
    training = PASSES * training_tokens
    cost_of = functools.cache(cost)

    def most_ranks(evaluations: int) -> int:
        fitting = (ranks for ranks in range(top, 1, -1) if evaluations * cost_of(ranks) <= most_share * training)
        return next(fitting, 1)

    affordable = int(most_share * training / cost_of(top))
    evaluations = min(len(due), max(affordable, WANTED))
    ranks = most_ranks(evaluations)
    if evaluations * cost_of(ranks) > most_share * training:
        evaluations, ranks = 1, most_ranks(1)
    return Budget(_spread(due, evaluations), ranks, evaluations * cost_of(ranks) / training)


def _spread(steps: list[int], count: int) -> tuple[int, ...]:
    """`count` of the steps at like distances, the last one among them."""
    return tuple(steps[-(-len(steps) * (number + 1) // count) - 1] for number in range(count))
