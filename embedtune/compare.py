"""Compare systems by their per-query scores: means, the gain, and how sure it is."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from embedtune.errors import EmbedTuneError

GAIN = ("gain", "gain_standard_error")
Comparison = dict[str, dict[str, float]]


def read_scores(path: Path) -> pd.DataFrame:
    """Per-query scores as `evaluate` writes them: index query_id (text), one column a measure."""
    return pd.read_csv(path, dtype={"query_id": str}, keep_default_na=False).set_index("query_id").astype(float)


def compare(scores: dict[str, pd.DataFrame], base: str, tuned: str) -> Comparison:
    """Measure -> {every system's mean, gain, gain_standard_error}, over the same questions.

    The gain is `tuned` over `base`; its standard error is that of the mean of the paired differences (sample standard
    deviation / sqrt(n); 0 for a single question). Raises EmbedTuneError when not all systems were measured on the same
    questions.
    """
    first = scores[base]
    for name, other in scores.items():
        if list(first.index) != list(other.index) or list(first.columns) != list(other.columns):
            raise EmbedTuneError(f"{base} and {name} were measured on different questions or cutoffs; run `dvc repro`")
    gains = scores[tuned] - first
    errors = gains.std(ddof=1).fillna(0.0) / math.sqrt(len(gains))
    return {
        measure: {
            **{name: float(values[measure].mean()) for name, values in scores.items()},
            "gain": float(gains[measure].mean()),
            "gain_standard_error": float(errors[measure]),
        }
        for measure in first.columns
    }


def table(comparison: Comparison, title: str) -> str:
    """The comparison as a table for the terminal, under `title`; the gain is the last round's over the base model."""
    systems = [name for name in next(iter(comparison.values())) if name not in GAIN]
    width = max(len(measure) for measure in comparison)
    heads = "".join(f"  {name:>{max(8, len(name))}}" for name in systems)
    lines = [title, f"{'':{width}}{heads}  {'gain':>8}  {'± s.e.':>7}"]
    for measure, row in comparison.items():
        values = "".join(f"  {row[name]:{max(8, len(name))}.4f}" for name in systems)
        lines.append(f"{measure:{width}}{values}  {row['gain']:+8.4f}  {row['gain_standard_error']:7.4f}")
    return "\n".join(lines)
