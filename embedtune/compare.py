"""Compare systems by their per-query scores: means, the gain, and how sure it is."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from embedtune.errors import EmbedTuneError

Comparison = dict[str, dict[str, float]]


def read_scores(path: Path) -> pd.DataFrame:
    """Per-query scores as `evaluate` writes them: index query_id (text), one column a measure."""
    return pd.read_csv(path, dtype={"query_id": str}, keep_default_na=False).set_index("query_id").astype(float)


def compare(base: pd.DataFrame, finetuned: pd.DataFrame) -> Comparison:
    """Measure -> {base, finetuned, gain, gain_standard_error}, means over the same questions.

    The standard error is that of the mean of the paired differences (sample standard deviation / sqrt(n); 0 for a
    single question). Raises EmbedTuneError when the two were not measured on the same questions.
    """
    if list(base.index) != list(finetuned.index) or list(base.columns) != list(finetuned.columns):
        raise EmbedTuneError("base and finetuned were measured on different questions or cutoffs; run `dvc repro`")
    gains = finetuned - base
    errors = gains.std(ddof=1).fillna(0.0) / math.sqrt(len(gains))
    return {
        measure: {
            "base": float(base[measure].mean()),
            "finetuned": float(finetuned[measure].mean()),
            "gain": float(gains[measure].mean()),
            "gain_standard_error": float(errors[measure]),
        }
        for measure in base.columns
    }


def table(comparison: Comparison, title: str) -> str:
    """The comparison as a table for the terminal, under `title`."""
    width = max(len(measure) for measure in comparison)
    lines = [title, f"{'':{width}}  {'base':>8}  {'finetuned':>9}  {'gain':>8}  {'± s.e.':>7}"]
    lines += [
        f"{measure:{width}}  {row['base']:8.4f}  {row['finetuned']:9.4f}  {row['gain']:+8.4f}  "
        f"{row['gain_standard_error']:7.4f}"
        for measure, row in comparison.items()
    ]
    return "\n".join(lines)
