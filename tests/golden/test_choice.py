"""The choice between a system and its baseline on dev: by one paired standard error, and said in words."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from embedtune.comparison.choice import choose, is_system, sentence


def choice(gain: float, count: int = 50, noise: float = 0.2) -> dict[str, object]:
    rng = np.random.default_rng(1)
    base, spread = rng.random(count), noise * rng.standard_normal(count)
    return choose("tuned", "base", base + spread - spread.mean() + gain, base, "ndcg@10")


def test_the_standard_error_is_scipys_and_decides() -> None:
    rng = np.random.default_rng(1)
    rng.random(50)
    error = scipy.stats.sem(0.2 * rng.standard_normal(50))
    assert choice(0.1)["standard_error"] == pytest.approx(error)
    for gain, chosen in ((1.01 * error, "tuned"), (0.99 * error, "base"), (0.0, "base"), (-0.3, "base")):
        found = choice(gain)
        assert (found["chosen"], found["gain"]) == (chosen, pytest.approx(gain, abs=1e-12))
        assert is_system(found) == (chosen == "tuned")


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (0.3, "tuned is released: it is better than base on dev, ndcg@10 "),
        (0.001, "base is released, since tuned is not better on dev by more than a standard error: ndcg@10 "),
        (-0.3, "base is released, since tuned is worse on dev: ndcg@10 "),
    ],
)
def test_a_run_that_got_worse_says_so_as_plainly_as_one_that_got_better(gain: float, said: str) -> None:
    found = choice(gain)
    text = sentence(found)
    assert text.startswith(said)
    assert f"{found['baseline_mean']:.4f} → {found['system_mean']:.4f} on 50 dev questions, {gain:+.4f}" in text


def test_one_question_decides_nothing_and_none_leaves_the_system() -> None:
    assert choose("tuned", "base", np.array([1.0]), np.array([0.0]), "ndcg@10")["chosen"] == "base"
    without = choose("tuned", "base", None, None, "ndcg@10")
    assert (without["chosen"], without["questions"]) == ("tuned", 0)
    assert sentence(without) == "tuned is released: there are no dev questions to choose between it and base by."
