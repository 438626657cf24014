"""Whether a reranker may teach: on dev it must order better than the system whose results it puts in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_DEV = {"better": False, "why": "there are no dev questions to see it by"}


def may_teach(metric: str, reranked: NDArray[np.float64], candidates: NDArray[np.float64]) -> dict[str, Any]:
    """The means of `metric` over dev questions (n,) of both, and `better`: by more than a standard error.

    `why` is the sentence that tells it.
    """
    differences = reranked - candidates
    error = float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else float("inf")
    difference = float(differences.mean())
    better = difference > error
    sentence = (
        f"on {len(differences)} dev questions it {'is' if better else 'is not'} better, by more than a standard error, "
        f"than the order that it was given: {metric} {candidates.mean():.4f} -> {reranked.mean():.4f}, "
        f"{difference:+.4f} (standard error {error:.4f})"
    )
    means = {"candidates": float(candidates.mean()), "reranked": float(reranked.mean())}
    return {"better": better, "metric": metric, **means, "standard_error": error, "why": sentence}
