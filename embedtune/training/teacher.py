"""A teacher's scores as targets of distillation: probabilities over a question's passages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy

from embedtune.core.errors import ParameterError

FLAT = 0.9  # mean entropy of the targets, as a share of that of equal probabilities, from which on they are refused


def flatness(scores: Sequence[Sequence[float]], temperature: float) -> float:
    """The mean entropy of softmax(scores / temperature), each as a share of the highest that so many can have.

    0: each question's whole probability lies on one passage. 1: its passages are all alike. Questions with one score
    are left out; 0 if there are no others.
    """
    shares = [
        entropy(softmax(np.array(row, dtype=np.float64) / temperature)) / np.log(len(row))
        for row in scores
        if len(row) > 1
    ]
    return float(np.mean(shares)) if shares else 0.0


def refuse_flat_targets(scores: Sequence[Sequence[float]], temperature: float) -> None:
    """Raise ParameterError if the targets hardly tell passages apart, as probabilities read as logits do.

    `scores` has a teacher's scores of each question's passages.
    """
    found = flatness(scores, temperature)
    if found < FLAT:
        return
    sharper = next((t for t in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01) if flatness(scores, t * temperature) < FLAT / 2), None)
    hint = f"; {sharper * temperature:g} gives sharp ones" if sharper else ""
    between = all(0 <= score <= 1 for row in scores for score in row)
    raise ParameterError(
        "teacher_temperature",
        f"with {temperature:g} the teacher's targets are nearly flat: their entropy is {found:.0%} of that of equal "
        f"probabilities, so that a positive is hardly told from a negative{hint}"
        + ("; the scores lie between 0 and 1: better give logits, before the sigmoid" if between else ""),
    )
