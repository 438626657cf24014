"""Intervals and tests against SciPy's, and against the truth in simulated comparisons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.typing import NDArray

from embedtune.comparison.significance import (
    Pairs,
    Resampling,
    bootstrap_means,
    detectable,
    holm,
    interval,
    intervals_and_differences,
    paired_differences,
    randomisation_p_values,
)
from embedtune.core.errors import EmbedTuneError

MANY = Resampling(confidence=0.95, resamples=20_000, seed=1)
FEW = Resampling(confidence=0.95, resamples=1_000, seed=1)
SIMULATED, QUESTIONS = 1_000, 200


def scores_of_two(rng: np.random.Generator, count: int, gain: float) -> NDArray[np.float64]:
    """Reciprocal-rank-like scores of two systems on the same questions, (count, 2); the second is `gain` better in the
    long run: a share of questions goes from 0 to 1."""
    ease = rng.random(count)
    first = (ease > 0.5) / np.ceil(rng.random(count) * 10)
    second = np.where(rng.random(count) < 0.3, (ease > 0.5) / np.ceil(rng.random(count) * 10), first)
    moved = rng.random(count) < gain
    return np.stack([first, np.where(moved, second + 1, second)], axis=1)


def interval_of(values: NDArray[np.float64], how: Resampling) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return interval(values, bootstrap_means(values, how), how.confidence)


def test_the_interval_is_scipys() -> None:
    values = scores_of_two(np.random.default_rng(0), 150, 0.1)
    differences = (values[:, 1] - values[:, 0])[:, None]
    low, high = interval_of(differences, MANY)
    theirs = scipy.stats.bootstrap(
        (differences[:, 0],), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(5)
    )
    assert low[0] == pytest.approx(theirs.confidence_interval.low, abs=2e-3)
    assert high[0] == pytest.approx(theirs.confidence_interval.high, abs=2e-3)
    assert bootstrap_means(differences, MANY).std() == pytest.approx(theirs.standard_error, rel=0.03)


@pytest.mark.parametrize("gain", [0.0, 0.02, 0.05])
def test_the_p_value_is_scipys(gain: float) -> None:
    values = scores_of_two(np.random.default_rng(3), 100, gain)
    differences = values[:, 1] - values[:, 0]
    theirs = scipy.stats.permutation_test(
        (values[:, 1], values[:, 0]),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(6),
    )
    assert randomisation_p_values(differences[:, None], MANY)[0] == pytest.approx(theirs.pvalue, abs=0.015)


def test_the_p_value_of_few_questions_is_that_of_all_signs() -> None:
    differences = np.array([0.5, 0.25, -0.125, 0.3, 0.0, 0.2, 0.1])
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(differences))).reshape(len(differences), -1)
    exact = (np.abs(differences @ signs) >= abs(differences.sum()) - 1e-9).mean()
    assert randomisation_p_values(differences[:, None], MANY)[0] == pytest.approx(exact, abs=0.01)


def test_the_interval_holds_the_truth_and_the_test_rejects_as_often_as_it_says() -> None:
    """1,000 comparisons of 200 questions: at 95 %, 93 to 97 % of the intervals; 3 to 7 % of the tests."""
    rng = np.random.default_rng(7)
    held = rejected = 0
    for _ in range(SIMULATED):
        better, equal = (scores_of_two(rng, QUESTIONS, gain) for gain in (0.05, 0.0))
        low, high = interval_of((better[:, 1] - better[:, 0])[:, None], FEW)
        held += low[0] <= 0.05 <= high[0]
        rejected += randomisation_p_values((equal[:, 1] - equal[:, 0])[:, None], FEW)[0] <= 0.05
    assert 0.93 <= held / SIMULATED <= 0.97
    assert 0.03 <= rejected / SIMULATED <= 0.07


def test_of_few_questions_that_gain_the_interval_holds_the_truth_where_percentiles_do_not() -> None:
    """One question in twenty gains something between 0 and 1: 1,000 comparisons of 200 questions."""
    rng = np.random.default_rng(8)
    held = plain = 0
    for _ in range(SIMULATED):
        gains = np.where(rng.random(QUESTIONS) < 0.05, rng.random(QUESTIONS), 0.0)[:, None]
        means = bootstrap_means(gains, FEW)
        low, high = interval(gains, means, 0.95)
        held += low[0] <= 0.025 <= high[0]
        plain += np.quantile(means, 0.025) <= 0.025 <= np.quantile(means, 0.975)
    assert 0.93 <= held / SIMULATED <= 0.97
    assert plain / SIMULATED < 0.93


def tables(rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    index = pd.Index([f"q{i}" for i in range(60)], name="query_id")
    return {
        name: pd.DataFrame({m: rng.choice([0.0, 0.5, 1.0], 60) for m in ("recall@10", "ndcg@10")}, index=index)
        for name in ("base", "bm25", "finetuned")
    }


ALL = [("bm25", "base"), ("finetuned", "base"), ("finetuned", "bm25")]


def pairs_of(scores: dict[str, pd.DataFrame], how: Resampling = FEW) -> Pairs:
    return intervals_and_differences(scores, [(a, b) for a, b in ALL if {a, b} <= set(scores)], how)[1]


def test_the_pairs_asked_for_are_compared() -> None:
    scores = tables(np.random.default_rng(0))
    pairs = pairs_of(scores)
    assert list(pairs) == ["bm25_over_base", "finetuned_over_base", "finetuned_over_bm25"]
    for pair, measures in pairs.items():
        later, earlier = pair.split("_over_")
        for measure, found in measures.items():
            differences = scores[later][measure] - scores[earlier][measure]
            assert found["difference"] == pytest.approx(differences.mean())
            assert found["low"] < found["difference"] < found["high"]
            assert (found["wins"], found["losses"]) == ((differences > 0).sum(), (differences < 0).sum())
            assert found["wins"] + found["losses"] + found["ties"] == 60
            theirs = scipy.stats.permutation_test(
                (differences,), np.mean, permutation_type="samples", n_resamples=5_000, rng=np.random.default_rng(1)
            )
            assert found["p_value"] == pytest.approx(theirs.pvalue, abs=0.06)
    flat = [found for measures in pairs.values() for found in measures.values()]
    assert [found["p_corrected"] for found in flat] == holm([found["p_value"] for found in flat])


def test_holms_correction_is_its_rule_step_by_step() -> None:
    """The example of his paper's kind, and random values: reject in order while p is at most a / (tests left)."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7]) == [0.7] and holm([0.9, 0.8]) == [1, 1]
    rng = np.random.default_rng(3)
    for _ in range(200):
        values = rng.random(7) ** 3
        rejected, level = set(), 0.05
        for left, number in zip(range(7, 0, -1), np.argsort(values), strict=True):
            if values[number] > level / left:
                break
            rejected.add(int(number))
        assert {i for i, p in enumerate(holm(values.tolist())) if p <= level} == rejected


def test_of_pairs_without_a_difference_few_comparisons_find_any() -> None:
    """300 comparisons of five equal systems: some test rejects in a third of them, a corrected one in 1 of 20."""
    rng = np.random.default_rng(11)
    index = pd.Index(range(60))
    plain = corrected = 0
    for _ in range(300):
        scores = {f"s{i}": pd.DataFrame({"ndcg@10": rng.random(60)}, index=index) for i in range(5)}
        wanted = [(later, earlier) for later in scores for earlier in scores if later > earlier]
        rows = [pair["ndcg@10"] for pair in intervals_and_differences(scores, wanted, FEW)[1].values()]
        plain += min(row["p_value"] for row in rows) <= 0.05
        corrected += min(row["p_corrected"] for row in rows) <= 0.05
    assert plain / 300 > 0.2
    assert corrected / 300 <= 0.08


def test_what_could_be_shown_is_shown_four_times_out_of_five() -> None:
    rng = np.random.default_rng(2)
    spread = scores_of_two(rng, 100_000, 0.0)
    differences = spread[:, 1] - spread[:, 0]
    reach = detectable(rng.choice(differences, (QUESTIONS, 400)), 0.95).mean()
    samples = rng.choice(differences, (QUESTIONS, 500)) + reach
    rejected = (randomisation_p_values(samples, FEW) <= 0.05).mean()
    assert 0.75 <= rejected <= 0.85


def test_every_systems_mean_has_an_interval_as_if_it_were_alone() -> None:
    scores = tables(np.random.default_rng(0))
    intervals, _ = intervals_and_differences(scores, ALL, FEW)
    for name, table in scores.items():
        low, high = interval_of(table.to_numpy(), FEW)
        assert [row["low"] for row in intervals[name].values()] == pytest.approx(low.tolist())
        assert [row["high"] for row in intervals[name].values()] == pytest.approx(high.tolist())


def test_a_seed_gives_the_same_numbers_and_systems_do_not_change_each_others() -> None:
    scores = tables(np.random.default_rng(0))
    assert pairs_of(scores) == pairs_of(scores)
    two = {name: scores[name] for name in ("base", "finetuned")}
    for measure, found in paired_differences(two, FEW)["finetuned_over_base"].items():
        among_three = pairs_of(scores)["finetuned_over_base"][measure]
        assert found["p_corrected"] <= among_three["p_corrected"], "more tests, more correction"
        assert found == pytest.approx(among_three | {"p_corrected": found["p_corrected"]})
    assert pairs_of(scores) != pairs_of(scores, Resampling(0.95, 1_000, seed=2))


def test_one_question_and_equal_systems_show_nothing() -> None:
    table = pd.DataFrame({"ndcg@10": [0.5]}, index=pd.Index(["q"], name="query_id"))
    found = paired_differences({"a": table, "b": table}, FEW)["b_over_a"]["ndcg@10"]
    expected = {
        "difference": 0,
        "low": 0,
        "high": 0,
        "p_value": 1,
        "p_corrected": 1,
        "wins": 0,
        "losses": 0,
        "ties": 1,
        "detectable": None,
    }
    assert found == expected


def test_systems_of_different_questions_are_refused() -> None:
    scores = tables(np.random.default_rng(0))
    scores["bm25"] = scores["bm25"].iloc[1:]
    with pytest.raises(EmbedTuneError, match="base and bm25 were measured on different questions or cutoffs"):
        pairs_of(scores)
