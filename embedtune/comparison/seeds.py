"""Pool runs that differ in their seed alone: one gain, its spread over seeds, and an interval over seeds and questions.

A run's gain depends on the seed of its training and on the questions that it is measured on. The interval is that of
the mean in a two-way random model, seeds crossed with questions and one value in each cell (Searle, Casella and
McCulloch 1992, chapter 4), with Satterthwaite's (1946) degrees of freedom. What neither seed nor question explains is
counted with both, which makes the interval too wide rather than too narrow. It says what another seed and other
questions of the same kind would give; the interval of a single run says it of other questions alone.
"""

from __future__ import annotations

import numpy as np
import scipy.stats
from numpy.typing import NDArray


def pooled(gains: NDArray[np.float64], confidence: float) -> dict[str, float]:
    """{gain, seed_deviation, low, high} of `gains` (seeds, questions), three seeds and two questions at least.

    `gain` is the mean, `seed_deviation` the standard deviation of the seeds' means, and `low` to `high` the interval at
    `confidence` (0 to 1).
    """
    seeds, questions = gains.shape
    mean, of_seeds, of_questions = gains.mean(), gains.mean(axis=1), gains.mean(axis=0)
    squares = [  # mean squares of seeds and of questions, and their degrees of freedom
        (questions * float(((of_seeds - mean) ** 2).sum()) / (seeds - 1), seeds - 1),
        (seeds * float(((of_questions - mean) ** 2).sum()) / (questions - 1), questions - 1),
    ]
    total = sum(square for square, _ in squares)
    degrees = total**2 / sum(square**2 / degrees for square, degrees in squares) if total > 0 else 1.0
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, degrees)) * float(np.sqrt(total / gains.size))
    return {
        "gain": float(mean),
        "seed_deviation": float(of_seeds.std(ddof=1)),
        "low": float(mean) - reach,
        "high": float(mean) + reach,
    }
