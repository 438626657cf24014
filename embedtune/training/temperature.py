"""The temperature at which a model's own scores predict its training pairs best.

A model that was trained with a contrastive loss has scores whose scale is its temperature's: tuning it at another one
first undoes what it knows (E5 was trained at .01, BGE at .01 to .02, many others at .05). The temperature is fitted as
that of a classifier is (Guo et al. 2017, On Calibration of Modern Neural Networks): by the likelihood of each
question's positive among the positives of other questions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from embedtune.core.seeds import generator
from embedtune.mining.mined_rows import MinedRow

LOWEST, HIGHEST = 0.01, 0.1
FAR = 2.0  # times: a written temperature that is further from the fitted one gets a warning
PAIRS = 1024  # questions, and so candidates of each


def fit_temperature(
    queries: NDArray[np.floating], positives: NDArray[np.floating], relevant: NDArray[np.bool_]
) -> float:
    """The temperature from LOWEST to HIGHEST with the highest likelihood of each query's own positive.

    `queries` and `positives` (n, d) are vectors of length 1, row by row a pair. `relevant` (n, n) is true where a
    positive is relevant to a query; other queries' positives that are relevant too are left out.
    """
    scores = queries.astype(np.float32) @ positives.astype(np.float32).T
    own = scores.diagonal().copy()
    others = ~np.eye(len(scores), dtype=bool)
    scores[relevant & others] = -np.inf

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float((logsumexp(scores / temperature, axis=1) - own / temperature).mean())

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))


def far_from_fitted(temperature: float | None, fitted: float | None) -> Iterator[str]:
    """Yield a warning if a temperature that somebody chose is more than FAR times above or below the fitted one."""
    if temperature and fitted and not fitted / FAR <= temperature <= fitted * FAR:
        yield (
            f"`temperature`: {temperature:g} is far from {fitted:g}, at which the base model's own scores predict the "
            "training pairs best; another one than the model's own tends to harm it; null takes the fitted one"
        )


def temperature_of(
    rows: list[MinedRow],
    query_vectors: NDArray[np.floating],
    passage_vectors: NDArray[np.floating],
    document: NDArray[np.integer],
    seed: int,
) -> float | None:
    """`fit_temperature` on up to PAIRS of the mined rows, drawn with `seed`, rounded to two digits.

    `query_vectors` (q, d) are by query number, `passage_vectors` (p, d) and `document` (p,), document numbers, by
    passage number. None if there are fewer than two rows: then there is nothing to tell apart.
    """
    drawn = np.sort(generator(seed, "temperature").permutation(len(rows))[:PAIRS])
    used = [rows[number] for number in drawn]
    if len(used) < 2:
        return None
    positives = np.array([row.positives[0] for row in used])
    own = document[positives]
    relevant = np.array([np.isin(own, document[row.positives]) for row in used])
    numbers = [row.query_number for row in used]
    assert None not in numbers, "the rows say which query's vector is theirs"
    asked = query_vectors[np.array(numbers, dtype=np.int64)]
    return float(f"{fit_temperature(asked, passage_vectors[positives], relevant):.2g}")
