"""Choose between a tuned system and its baseline on dev: what is released has to be better there, and not by chance.

Dev is ranked over the whole corpus, as the evaluated split is. The tuned system is chosen only if its mean is above the
baseline's by more than one standard error of the paired difference. The evaluated split has no part in the choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Choice = dict[str, Any]


def choose(
    system: str,
    baseline: str,
    scores: NDArray[np.float64] | None,
    baseline_scores: NDArray[np.float64] | None,
    measure: str,
) -> Choice:
    """{chosen, system, baseline, measure, questions, gain, standard_error, and both systems' means}.

    Both scores are (questions,): `measure` of every dev question; None without dev questions, where `system` is chosen,
    since there is nothing to choose by. A single question has no standard error, and the baseline is chosen.
    """
    said: Choice = {"system": system, "baseline": baseline, "measure": measure}
    if scores is None or baseline_scores is None:
        return {"chosen": system, **said, "questions": 0}
    gains = scores - baseline_scores
    error = float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else None
    better = error is not None and float(gains.mean()) > error
    return {
        "chosen": system if better else baseline,
        **said,
        "questions": len(gains),
        "system_mean": float(scores.mean()),
        "baseline_mean": float(baseline_scores.mean()),
        "gain": float(gains.mean()),
        "standard_error": error,
    }


def is_system(choice: Choice) -> bool:
    """Whether the tuned system was chosen."""
    return bool(choice["chosen"] == choice["system"])


def advice(choice: Choice, warnings: Sequence[str]) -> list[str]:
    """What to try where the baseline was chosen, in sentences that have parameters in backticks; else nothing.

    `warnings` are those of the system's training.
    """
    if is_system(choice):
        return []
    found = list(warnings)
    gain, error = choice["gain"], choice["standard_error"]
    if choice["baseline_mean"] == 1:
        found.append("the baseline is right on every dev question already, so that no gain can show there")
    elif not gain and not error:
        found.append("both rank dev alike, question by question: the training changed nothing that dev can show")
    elif error and 0 < gain <= error:
        enough = math.ceil(choice["questions"] * (error / gain) ** 2)
        found.append(
            f"a gain of {gain:.4f} takes more than {enough} dev questions to be seen: raise `dev_queries` and "
            "`split_shares`.dev, or bring more questions"
        )
    found.append('docs/training.md, "It got worse", has what helped others')
    return found


def sentence(choice: Choice) -> str:
    """The choice in one or two sentences, for people."""
    system, baseline = choice["system"], choice["baseline"]
    if not choice["questions"]:
        return f"{system} is released: there are no dev questions to choose between it and {baseline} by."
    means = (
        f"{choice['measure']} {choice['baseline_mean']:.4f} → {choice['system_mean']:.4f} on {choice['questions']} dev "
        f"questions, {choice['gain']:+.4f}"
    )
    error = choice["standard_error"]
    with_error = f"{means} (standard error {error:.4f})" if error is not None else means
    if is_system(choice):
        return f"{system} is released: it is better than {baseline} on dev, {with_error}."
    if choice["gain"] < 0:
        return f"{baseline} is released, since {system} is worse on dev: {with_error}."
    return f"{baseline} is released, since {system} is not better on dev by more than a standard error: {with_error}."
