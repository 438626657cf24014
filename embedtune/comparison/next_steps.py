"""What to do after a run, by what it found: sentences for the report, with commands and parameters in backticks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedtune.comparison.words import caveat
from embedtune.evaluation.per_query import shown_measure


def next_steps(
    verdict: Mapping[str, Any], gains: Sequence[Mapping[str, Any]], rivals: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The steps, most pressing first: measure on test, train otherwise, ask more questions, release another, publish.

    `verdict` is that of gate.py, `gains` those of the system over its baseline (`with_signs`), and `rivals` the systems
    with a higher mean than the released one (all three: see words.py).
    """
    system, baseline, chosen = verdict["system"], verdict["baseline"], verdict["chosen"]
    row = next(gain for gain in gains if gain["measure"] == shown_measure([gain["measure"] for gain in gains]))
    steps = []
    if caveat(verdict["split"]):
        steps.append("Write `evaluate.split: test` in params.yaml and run `dvc repro`: only test shows the quality.")
    if chosen == baseline:
        steps += [f"{system} did not help: {text}." for text in verdict["try"]]
    elif row["sign"] == "worse":
        steps.append(f"Do not ship {system}: dev chose it, and it is worse here. Give more dev questions to choose by.")
    if not row["sign"] and row["detectable"] is not None:
        steps.append(
            f"Evaluate on more questions: these reveal a true difference of {row['detectable']:.3f} or more in "
            f"{row['measure']} four times out of five, and smaller ones less often."
        )
    if rivals and rivals[0]["sign"]:
        steps.append(f"To ship {rivals[0]['name']}, write `release.system: {rivals[0]['name']}` and run `dvc repro`.")
    if verdict["passed"]:
        steps.append(
            "Try the model by `embedtune rank QUESTION`, read its card (`models/release/README.md`), and upload it by "
            "`embedtune publish NAME/REPOSITORY`."
        )
    else:
        steps.append(
            "`embedtune publish` uploads nothing while the gate is shut. The released model can be tried all the same: "
            "`embedtune rank QUESTION`."
        )
    steps.append("Read the questions that lost most, below: wrong judgments and texts that were cut short show there.")
    return steps
