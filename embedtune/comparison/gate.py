"""The release gate: rules on the gain over the baseline that a system must meet to be released.

A rule requires that the gain in a measure, on all questions or on one slice, is at least `min_gain` with a given
confidence. The lower confidence bound is Gaffke's, which allows for large losses that a small sample may not contain.
A guard (a negative `min_gain`: no loss greater than that) can therefore not be met by having few questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtune.comparison.choice import Choice, is_system, sentence
from embedtune.comparison.significance import Resampling, resample_blocks
from embedtune.core.seeds import generator

TRAIN = "train"  # the split of the questions that were trained on
GREATEST_LOSS = 1.0  # on one question: measures lie between 0 and 1
Verdict = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """The smallest gain in a measure (`min_gain`; negative: the largest loss), and the confidence required (0 to 1)."""

    min_gain: float
    confidence: float


def judge(
    rules: Mapping[str, Rule],
    choice: Choice,
    system: pd.DataFrame,
    baseline: pd.DataFrame,
    groups: pd.DataFrame,
    resampling: Resampling,
    split: str,
) -> Verdict:
    """{passed, choice, try, system, baseline, chosen, split, rules}, and of each rule its gain, at_least and passed.

    `system` and `baseline` are per-query scores of the same questions, those of `split`. `choice` says which of the two
    dev chose (see choice.py): where it is the baseline, the gate is shut, and `try` says what may help. On `train` no
    rule is met, since the models were trained on these questions. A rule's name is a measure, or a measure and a slice
    such as "ndcg@10 in query_length=0-10". `groups` are the questions' slices (see slices.py). `at_least` is the lower
    bound on the true gain at the rule's confidence. `gain` is None if the slice has no questions.
    """
    found = {name: _checked(name, rule, system - baseline, groups, resampling) for name, rule in rules.items()}
    for outcome in found.values():
        outcome["passed"] = outcome["passed"] and split != TRAIN
    return {
        "passed": is_system(choice) and all(outcome["passed"] for outcome in found.values()),
        "choice": sentence(choice),
        "try": list(choice.get("try", [])),
        "system": choice["system"],
        "baseline": choice["baseline"],
        "chosen": choice["chosen"],
        "split": split,
        "rules": found,
    }


def _checked(
    name: str, rule: Rule, gains: pd.DataFrame, groups: pd.DataFrame, resampling: Resampling
) -> dict[str, Any]:
    measure, _, group = (part.strip() for part in name.partition(" in "))
    chosen = gains[measure]
    if group:
        column, _, value = group.partition("=")
        chosen = chosen[(groups[column] == value).reindex(chosen.index)]
    values = chosen.to_numpy(dtype=np.float64)
    at_least = lower_bound(values, rule.confidence, resampling)
    return {
        "gain": float(values.mean()) if len(values) else None,
        "at_least": at_least,
        "min_gain": rule.min_gain,
        "confidence": rule.confidence,
        "questions": len(values),
        "passed": at_least >= rule.min_gain,
    }


def lower_bound(gains: NDArray[np.float64], confidence: float, resampling: Resampling) -> float:
    """A lower confidence bound on the true mean gain, from `gains` (questions,), each between -1 and 1.

    Gaffke's bound (2005; Learned-Miller and Thomas 2019): one question with the greatest loss is added, and the bound
    is a quantile of the weighted mean under weights drawn uniformly from the simplex (a Bayesian bootstrap). No
    distribution of bounded gains is known for which it is too high, whatever the number of questions. Student's t and
    bootstrap bounds are too high where a few questions lose much. For gains that are all 0 or -1 it is Clopper and
    Pearson's bound.
    """
    values = np.append(gains, -GREATEST_LOSS)
    rng = generator(resampling.seed, "gate")
    means = []
    for block in resample_blocks(resampling.resamples, len(values)):
        weights = rng.standard_exponential((block, len(values)))
        means.append(weights @ values / weights.sum(axis=1))
    return float(np.quantile(np.concatenate(means), 1 - confidence))


def failures(found: Verdict) -> dict[str, str]:
    """Rule -> the reason why it is not met, for the rules of the verdict that are not met."""
    of_train = "it is measured on training questions, which show no gain on new ones; write `split: test`"
    return {
        name: of_train if found["split"] == TRAIN else _reason(outcome)
        for name, outcome in found["rules"].items()
        if not outcome["passed"]
    }


def _reason(outcome: dict[str, Any]) -> str:
    if not outcome["questions"]:
        return "no question is in this slice"
    return (
        f"the gain is {outcome['gain']:+.4f}, at least {outcome['at_least']:+.4f} with "
        f"{100 * outcome['confidence']:g}% confidence ({outcome['questions']} questions); "
        f"min_gain asks for {outcome['min_gain']:+g}"
    )
