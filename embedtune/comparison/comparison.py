"""Compare systems by their per-query scores: means, the gain over the baseline, intervals and significance tests."""

from __future__ import annotations

from typing import Any

import pandas as pd

from embedtune.comparison.significance import (
    Resampling,
    check_same_questions,
    intervals_and_differences,
    standard_errors,
)

GAIN = ("gain", "gain_standard_error")
INTERVALS, PAIRS = "intervals", "pairs"
Comparison = dict[str, dict[str, Any]]


def compare(
    scores: dict[str, pd.DataFrame],
    baseline: str,
    system: str,
    resampling: Resampling,
    measures: list[str] | None = None,
) -> Comparison:
    """Measure -> {every system's mean, gain, gain_standard_error}; `intervals` and `pairs` (see significance.py).

    `scores` is name -> per-query scores (rows: questions; columns: measures). `intervals` and `pairs` cover only
    `measures`, if given. The pairs are those of `compared_pairs`. The gain is the mean of `system` minus the mean of
    `baseline`. Its standard error is that of the mean of the paired differences (sample standard deviation / sqrt(n); 0
    for a single question). Raises EmbedTuneError unless all were measured on the same questions and cutoffs.
    """
    check_same_questions(scores)
    chosen = {name: values[measures] for name, values in scores.items()} if measures else scores
    intervals, pairs = intervals_and_differences(chosen, compared_pairs(list(scores), baseline, system), resampling)
    gains = scores[system] - scores[baseline]
    errors = dict(zip(gains.columns, standard_errors(gains.to_numpy()), strict=True))
    means = {
        str(measure): {
            **{name: float(values[measure].mean()) for name, values in scores.items()},
            "gain": float(gains[measure].mean()),
            "gain_standard_error": float(errors[measure]),
        }
        for measure in gains.columns
    }
    return means | {INTERVALS: intervals, PAIRS: pairs}


def compared_pairs(names: list[str], baseline: str, system: str) -> list[tuple[str, str]]:
    """The pairs (later, earlier) that are tested: every system over `baseline`, and `system` over every other one."""
    over_baseline = [(name, baseline) for name in names if name != baseline]
    return over_baseline + [(system, name) for name in names if name not in (baseline, system)]


def table(comparison: Comparison, baseline: str, system: str, title: str) -> str:
    """The comparison as a table for the terminal, under `title`, with the gain of `system` over `baseline`."""
    measures = {measure: row for measure, row in comparison.items() if measure not in (INTERVALS, PAIRS)}
    sure = comparison[PAIRS][f"{system}_over_{baseline}"]
    systems = [name for name in next(iter(measures.values())) if name not in GAIN]
    width = max(len(measure) for measure in measures)
    columns = "".join(f"  {name:>{max(8, len(name))}}" for name in systems)
    lines = [title, f"{'':{width}}{columns}  {'gain':>8}  {'interval':>18}  {'p':>7}"]
    for measure, row in measures.items():
        values = "".join(f"  {row[name]:{max(8, len(name))}.4f}" for name in systems)
        gain = sure.get(measure)
        found = f"  [{gain['low']:+.4f}, {gain['high']:+.4f}]  {gain['p_corrected']:7.4f}" if gain else ""
        lines.append(f"{measure:{width}}{values}  {row['gain']:+8.4f}{found}")
    return "\n".join(lines)
