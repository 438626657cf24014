"""Confidence intervals and significance tests for differences between systems, by resampling the questions.

Intervals are those of the paired bootstrap, corrected for bias and skewness (BCa, Efron 1987; Sakai 2006 for
retrieval): where few questions change much, plain percentile intervals contain the true value too rarely. P-values are
those of the paired randomisation test (Smucker, Allan and Carterette 2007). All measures of all systems share the same
resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.special
from numpy.typing import NDArray

from embedtune.core.errors import EmbedTuneError
from embedtune.core.seeds import generator

DRAWS_AT_A_TIME = 5_000_000  # questions drawn into memory at a time: 40 MB as float64
POWER = 0.8  # statistical power of the smallest detectable difference
TIE = 1e-12  # smaller differences are rounding errors: a measure is a sum of few terms

Intervals = dict[str, dict[str, dict[str, float]]]
Pairs = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Resampling:
    """How to resample: the confidence level of the intervals (0 to 1), the number of resamples, and their seed."""

    confidence: float
    resamples: int
    seed: int


def check_same_questions(scores: dict[str, pd.DataFrame]) -> None:
    """Raise EmbedTuneError unless all systems were measured on the same questions and cutoffs."""
    names = list(scores)
    first = scores[names[0]]
    for name in names[1:]:
        other = scores[name]
        if list(first.index) != list(other.index) or list(first.columns) != list(other.columns):
            raise EmbedTuneError(
                f"{names[0]} and {name} were measured on different questions or cutoffs; measure both on the same"
            )


def intervals_and_differences(
    scores: dict[str, pd.DataFrame], wanted: Sequence[tuple[str, str]], resampling: Resampling
) -> tuple[Intervals, Pairs]:
    """Confidence intervals of every system's means, and of the differences between two systems.

    `scores` is system -> per-query scores (rows: questions; columns: measures). `wanted` are pairs of systems (later,
    earlier). Intervals: system -> measure -> {low, high}. Pairs: `later_over_earlier` -> measure -> statistics of the
    difference: the mean `difference`; `low` and `high`, the interval of this comparison alone; the two-sided `p_value`
    and `p_corrected`, Holm's (1979) for all pairs and measures together; the `wins`, `losses` and `ties` of the later
    system; and `detectable`: the smallest true difference that this many questions with this variance detect with a
    power of 0.8 (None if the variance is 0).

    Raises EmbedTuneError if the systems were measured on different questions or cutoffs.
    """
    check_same_questions(scores)
    names, measures = list(scores), [str(measure) for measure in next(iter(scores.values())).columns]
    values = np.hstack([table.to_numpy(dtype=np.float64) for table in scores.values()])
    means = bootstrap_means(values, resampling)
    lows, highs = interval(values, means, resampling.confidence)
    cells = [(name, measure) for name in names for measure in measures]
    intervals: Intervals = {name: {} for name in names}
    for (name, measure), low, high in zip(cells, lows, highs, strict=True):
        intervals[name][measure] = {"low": float(low), "high": float(high)}
    pairs: Pairs = {}
    for later, earlier in wanted:
        places = (names.index(name) * len(measures) for name in (later, earlier))
        of_later, of_earlier = (slice(place, place + len(measures)) for place in places)
        differences = values[:, of_later] - values[:, of_earlier]
        found = _differences(differences, means[:, of_later] - means[:, of_earlier], resampling)
        pairs[f"{later}_over_{earlier}"] = dict(zip(measures, found, strict=True))
    rows = [row for pair in pairs.values() for row in pair.values()]
    for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_corrected"] = corrected
    return intervals, pairs


def paired_differences(scores: dict[str, pd.DataFrame], resampling: Resampling) -> Pairs:
    """`later_over_earlier` of `intervals_and_differences`, for two systems in the order earlier, later."""
    earlier, later = scores
    return intervals_and_differences(scores, [(later, earlier)], resampling)[1]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the same order.

    Rejecting those of at most a has a chance of at most a to reject any true hypothesis, however they depend on each
    other.
    """
    corrected, before = [0.0] * len(p_values), 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        before = corrected[number] = max(before, min(1.0, (len(p_values) - place) * p_values[number]))
    return corrected


def _differences(
    differences: NDArray[np.float64], means: NDArray[np.float64], resampling: Resampling
) -> list[dict[str, float | None]]:
    """The statistics of each column of `differences` (questions, columns); `means` as in `bound`."""
    low, high = interval(differences, means, resampling.confidence)
    p_values = randomisation_p_values(differences, resampling)
    reach = detectable(differences, resampling.confidence)
    return [
        {
            "difference": float(column.mean()),
            "low": float(low[i]),
            "high": float(high[i]),
            "p_value": float(p_values[i]),
            "wins": int((column > TIE).sum()),
            "losses": int((column < -TIE).sum()),
            "ties": int((np.abs(column) <= TIE).sum()),
            "detectable": float(reach[i]) if reach[i] > TIE else None,
        }
        for i, column in enumerate(differences.T)
    ]


def interval(
    values: NDArray[np.float64], means: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The BCa interval (low, high) of each column's mean, both (columns,); `values` and `means` as in `bound`."""
    outside = (1 - confidence) / 2
    return bound(values, means, outside), bound(values, means, 1 - outside)


def bound(values: NDArray[np.float64], means: NDArray[np.float64], below: float) -> NDArray[np.float64]:
    """The BCa bound that each column's true mean lies below in a fraction `below` of all samples; (columns,).

    `values` (questions, columns) is the sample; `means` (resamples, columns) are its `bootstrap_means`.
    """
    observed = values.mean(axis=0)
    centred = values - observed
    spread = (centred**2).sum(axis=0)
    skewed = np.divide((centred**3).sum(axis=0), 6 * spread**1.5, out=np.zeros_like(spread), where=spread > 0)
    share = ((means < observed - TIE).mean(axis=0) + (means <= observed + TIE).mean(axis=0)) / 2
    bias = scipy.special.ndtri(share.clip(1 / len(means), 1 - 1 / len(means)))
    shifted = bias + scipy.special.ndtri(below)
    level = scipy.special.ndtr(bias + shifted / (1 - skewed * shifted))
    return np.array([np.quantile(column, at) for column, at in zip(means.T, level, strict=True)])


def bootstrap_means(values: NDArray[np.float64], resampling: Resampling) -> NDArray[np.float64]:
    """Column means of `values` (questions, columns) with its rows resampled with replacement; (resamples, columns)."""
    rng = generator(resampling.seed, "bootstrap")
    count = len(values)
    parts = []
    for block in resample_blocks(resampling.resamples, count):
        drawn = rng.integers(0, count, size=(block, count))
        drawn += np.arange(block)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=block * count).reshape(block, count)
        parts.append(times.astype(np.float64) @ values / count)
    return np.concatenate(parts)


def randomisation_p_values(differences: NDArray[np.float64], resampling: Resampling) -> NDArray[np.float64]:
    """Two-sided p-values of the mean of each column of `differences` (questions, columns); (columns,).

    The p-value is how often random signs of the differences give a mean at least as far from 0; the observed signs
    count as one more draw.
    """
    rng = generator(resampling.seed, "randomisation")
    count = len(differences)
    observed = np.abs(differences.sum(axis=0)) - TIE * count
    as_far = np.zeros(differences.shape[1], dtype=np.int64)
    for block in resample_blocks(resampling.resamples, count):
        signs = rng.integers(0, 2, size=(block, count), dtype=np.int8) * 2.0 - 1.0
        as_far += (np.abs(signs @ differences) >= observed).sum(axis=0)
    return (as_far + 1) / (resampling.resamples + 1)


def detectable(differences: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """The smallest true means that a two-sided test at `confidence` detects with power `POWER`; (columns,)."""
    errors: NDArray[np.float64] = standard_errors(differences)
    reach: float = scipy.special.ndtri((1 + confidence) / 2) + scipy.special.ndtri(POWER)
    return reach * errors


def standard_errors(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard errors of the column means: sample standard deviation / sqrt(n), (columns,); 0 for a single question."""
    count = len(differences)
    if count == 1:
        return np.zeros(differences.shape[1])
    errors: NDArray[np.float64] = differences.std(axis=0, ddof=1) / np.sqrt(count)
    return errors


def resample_blocks(resamples: int, count: int) -> Iterator[int]:
    """Yield how many resamples of `count` questions to draw at a time, so that each block fits in memory."""
    size = max(1, DRAWS_AT_A_TIME // count)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
