"""The gate: rules on the gain over the base model that a run must meet to be shipped.

A rule asks that the gain in a measure, of all questions or of one slice, be at least `min_gain` with a confidence. The
bound is Gaffke's: it reckons with losses that so few questions need not show, so that a guard (a negative `min_gain`:
no loss greater than that) is not met by having few of them.

    python -m embedtune.gate      says what `compare` found (metrics/gate.json); exits with 1 where a rule is not met
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from embedtune import cli, files
from embedtune.config import GateRule, load_params
from embedtune.errors import EmbedTuneError
from embedtune.freshness import check_fresh
from embedtune.seeds import generator
from embedtune.significance import Resampling, blocks

VERDICT, PARAMS = Path("metrics/gate.json"), Path("params.yaml")
GREATEST_LOSS = 1.0  # of a question: measures lie between 0 and 1
Verdict = dict[str, Any]


def verdict(
    rules: dict[str, GateRule],
    model: str,
    base: pd.DataFrame,
    tuned: pd.DataFrame,
    groups: pd.DataFrame,
    resampling: Resampling,
) -> Verdict:
    """{passed, model, rules: rule -> {gain, at_least, min_gain, confidence, questions, passed}}.

    `base` and `tuned` (the scores of `model`) are per-query scores of the same questions, `groups` their slices (see
    slices.py). `at_least` is the bound that the true gain is above with the rule's confidence; `gain` is None where
    there is no question.
    """
    found = {name: _checked(name, rule, tuned - base, groups, resampling) for name, rule in rules.items()}
    return {"passed": all(outcome["passed"] for outcome in found.values()), "model": model, "rules": found}


def _checked(
    name: str, rule: GateRule, gains: pd.DataFrame, groups: pd.DataFrame, resampling: Resampling
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
    """What the true mean gain is above with `confidence`, from the gains of (questions,), each between -1 and 1.

    Gaffke's bound (2005; Learned-Miller and Thomas 2019): a quantile of the gains' mean in random weights that are
    uniform over all weights (a Bayesian bootstrap), with one question more that loses everything. No distribution of
    bounded gains is known for which it is too high, few questions or many, where Student's and the bootstrap's bounds
    are (a few questions that lose much). Of gains that are all 0 or -1 it is Clopper and Pearson's.
    """
    values = np.append(gains, -GREATEST_LOSS)
    rng = generator(resampling.seed, "gate")
    means = []
    for block in blocks(resampling.resamples, len(values)):
        weights = rng.standard_exponential((block, len(values)))
        means.append(weights @ values / weights.sum(axis=1))
    return float(np.quantile(np.concatenate(means), 1 - confidence))


def failures(found: Verdict) -> list[str]:
    """A sentence for each rule of the verdict that is not met, with its line in params.yaml."""
    lines = _lines_of_rules(PARAMS)
    return [
        f"{PARAMS}:{lines.get(name, 0)}: gate: {name}: {_reason(outcome)}"
        for name, outcome in found["rules"].items()
        if not outcome["passed"]
    ]


def _reason(outcome: dict[str, Any]) -> str:
    if not outcome["questions"]:
        return "no question is in this slice"
    return (
        f"the gain is {outcome['gain']:+.4f}, at least {outcome['at_least']:+.4f} with "
        f"{100 * outcome['confidence']:g}% confidence ({outcome['questions']} questions); "
        f"min_gain asks for {outcome['min_gain']:+g}"
    )


def _lines_of_rules(path: Path) -> dict[str, int]:
    """Rule -> the line of the file that it stands in, from 1."""
    whole = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    assert isinstance(whole, yaml.MappingNode), "params.yaml was checked"
    section = next(value for key, value in whole.value if key.value == "gate")
    return {key.value: key.start_mark.line + 1 for key, _ in section.value}


def main() -> None:
    """Say whether the last run passes; raises EmbedTuneError, which ends with 1, where it does not."""
    params = load_params(PARAMS)
    if not VERDICT.exists():
        raise EmbedTuneError(f"{VERDICT}: no such file; run `dvc repro`")
    check_fresh("compare")
    found = files.read_json(VERDICT)
    stopped = failures(found)
    if stopped:
        raise EmbedTuneError("the gate is shut:\n  " + "\n  ".join(stopped))
    print(f"the gate is open: {len(params.gate)} of {len(params.gate)} rules are met")


if __name__ == "__main__":
    cli.run(main)
