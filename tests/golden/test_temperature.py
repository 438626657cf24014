"""The fitted temperature: that of the model's own scale, by the likelihood, within its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from embedtune.mining.mined_rows import MinedRow
from embedtune.training.temperature import HIGHEST, LOWEST, far_from_fitted, fit_temperature, temperature_of

Vectors = NDArray[np.float32]


def pairs(temperature: float, count: int = 300, dimension: int = 128) -> tuple[Vectors, Vectors]:
    """Vectors whose positives are drawn by the softmax of scores / `temperature`, as a contrastive model's are."""
    rng = np.random.default_rng(3)
    queries, candidates = (rng.standard_normal((count, dimension)).astype(np.float32) for _ in range(2))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    scores = queries @ candidates.T / temperature
    chosen = (scores + rng.gumbel(size=scores.shape)).argmax(1)
    return queries, candidates[chosen]


def likelihood(queries: Vectors, positives: Vectors, relevant: NDArray[np.bool_], temperature: float) -> float:
    total = 0.0
    for row, query in enumerate(queries.astype(np.float64)):
        others = [p for p in range(len(positives)) if p == row or not relevant[row, p]]
        exponentials = {p: np.exp(query @ positives[p].astype(np.float64) / temperature) for p in others}
        total += np.log(exponentials[row] / sum(exponentials.values()))
    return total


@pytest.mark.parametrize("made_with", [0.02, 0.05])
def test_it_is_the_likelihoods_best(made_with: float) -> None:
    queries, positives = pairs(made_with)
    relevant = np.array([[np.array_equal(a, b) for b in positives] for a in positives])
    found = fit_temperature(queries, positives, relevant)
    best = likelihood(queries, positives, relevant, found)
    assert all(best >= likelihood(queries, positives, relevant, found * factor) for factor in (0.9, 0.97, 1.03, 1.1))
    assert made_with / 1.3 < found < made_with * 1.3


@pytest.mark.parametrize(("made_with", "bound"), [(0.001, LOWEST), (10.0, HIGHEST)])
def test_it_is_bounded(made_with: float, bound: float) -> None:
    queries, positives = pairs(made_with)
    found = fit_temperature(queries, positives, np.eye(len(queries), dtype=bool))
    assert found == pytest.approx(bound, rel=0.02)


def test_rows_have_their_own_passages_and_what_is_relevant_is_no_negative() -> None:
    """Row 0 and row 1 ask for one document: neither's positive counts against the other."""
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((3, 8)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    passages = np.stack([queries[2], queries[0], queries[0], queries[1]])
    document = np.array([0, 1, 1, 2])
    rows = [
        MinedRow("a", "", [1], [], query_number=0),
        MinedRow("b", "", [2, 3], [], query_number=1),
        MinedRow("c", "", [0], [], query_number=2),
    ]
    by_hand = fit_temperature(queries, passages[[1, 2, 0]], np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool))
    assert temperature_of(rows, queries, passages, document, seed=1) == float(f"{by_hand:.2g}")
    assert temperature_of(rows[:1], queries, passages, document, seed=1) is None


@pytest.mark.parametrize(
    ("written", "fitted", "warned"),
    [(0.05, 0.01, True), (0.02, 0.01, False), (0.01, 0.05, True), (None, 0.05, False), (0.05, None, False)],
)
def test_a_temperature_far_from_the_models_own_is_told(
    written: float | None, fitted: float | None, warned: bool
) -> None:
    found = list(far_from_fitted(written, fitted))
    assert bool(found) == warned
    assert all(f"{written:g} is far from {fitted:g}" in text for text in found)
