"""Calibration against scikit-learn's measures and plain counting; simulated scores whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, precision_recall_curve

from embedtune.comparison.calibration import (
    CURVE_POINTS,
    MIN_ANSWERED,
    Top1,
    calibrate,
    calibration_measures,
    downsampled,
    fit,
    precision_at_threshold,
    probability,
    rejection,
    reliability,
    split_in_halves,
    threshold_for,
    top1_predictions,
)
from embedtune.core import json_files
from embedtune.data.corpus import Query
from embedtune.retrieval.rankings import rankings_of


def truth(scores: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(scores - 0.6) / 0.08))


def simulated(seed: int, count: int = 4000) -> Top1:
    rng = np.random.default_rng(seed)
    scores = rng.beta(6, 4, count).round(3)
    return Top1(scores, rng.random(count) < truth(scores))


@pytest.mark.parametrize(("method", "error"), [("platt", 0.03), ("isotonic", 0.12)])
def test_probabilities_are_the_true_ones(method: str, error: float) -> None:
    calibration = fit(simulated(0), method)
    scores = np.linspace(0.4, 0.8, 50)
    assert np.abs(probability(calibration, scores) - truth(scores)).max() < error
    rising = probability(calibration, np.linspace(-1, 1, 500))
    assert (np.diff(rising) >= 0).all() and rising[0] >= 0 and rising[-1] <= 1


def test_the_threshold_gives_the_precision_on_other_questions() -> None:
    threshold = threshold_for(simulated(0), 0.9)
    assert threshold is not None
    found = calibration_measures(fit(simulated(0), "isotonic"), threshold, simulated(1))
    assert found["precision"] == pytest.approx(0.9, abs=0.03)
    kept = simulated(1).scores >= threshold
    assert found["answered"] == kept.mean()
    assert found["expected_calibration_error"] < 0.05


def test_the_threshold_is_the_lowest_that_will_do() -> None:
    answers = simulated(3, 300)
    precision, _, thresholds = precision_recall_curve(answers.right, answers.scores)
    for wanted in (0.6, 0.8, 0.9):
        enough = [t for t in thresholds[precision[:-1] >= wanted] if (answers.scores >= t).sum() >= MIN_ANSWERED]
        assert threshold_for(answers, wanted) == pytest.approx(min(enough), abs=1.1e-6)
        assert threshold_for(answers, wanted) <= min(enough)


def test_a_few_right_answers_make_no_threshold() -> None:
    scores = np.concatenate([np.linspace(0.5, 0.6, 200), np.linspace(0.9, 0.95, MIN_ANSWERED - 1)])
    right = np.concatenate([np.tile([True, False, False, False], 50), np.ones(MIN_ANSWERED - 1, dtype=bool)])
    right[199:180:-1] = False
    assert threshold_for(Top1(scores, right), 0.96) is None
    more = Top1(np.append(scores, 0.97), np.append(right, True))
    assert threshold_for(more, 0.96) == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize("slope", [2.0, 200.0])
def test_a_sigmoid_is_found_whatever_its_slope(slope: float) -> None:
    """Scores within a hundredth, as tuned models give them, or spread over hundreds, as unnormalised ones do."""
    rng = np.random.default_rng(4)
    scores = 0.7 + rng.standard_normal(20_000) * 2 / slope
    calibration = fit(Top1(scores, rng.random(20_000) < 1 / (1 + np.exp(-slope * (scores - 0.7)))), "platt")
    assert calibration["scale"] == pytest.approx(slope, rel=0.05)
    assert -calibration["shift"] / calibration["scale"] == pytest.approx(0.7, abs=0.1 / slope)


def test_scores_that_separate_right_from_wrong_and_those_that_mislead() -> None:
    scores = np.linspace(0, 1, 100)
    sure = fit(Top1(scores, scores > 0.5), "platt")
    assert probability(sure, np.array([0.2, 0.8])) == pytest.approx([0, 1], abs=0.01)
    misled = fit(Top1(scores, scores < 0.4), "platt")
    assert probability(misled, scores) == pytest.approx(np.full(100, 0.4))


def test_halves_share_no_question_and_lose_none() -> None:
    answers = simulated(5, 101)
    first, second = split_in_halves(answers, np.random.default_rng(0))
    assert abs(len(first.scores) - len(second.scores)) == 1
    joined = sorted(zip(np.append(first.scores, second.scores), np.append(first.right, second.right), strict=True))
    assert joined == sorted(zip(answers.scores, answers.right, strict=True))


def test_a_thinned_curve_keeps_its_ends_and_its_shape() -> None:
    curve = rejection(simulated(6))
    drawn = downsampled(curve)
    assert len(drawn) == CURVE_POINTS < len(curve)
    assert drawn.iloc[[0, -1]].equals(curve.iloc[[0, -1]])
    between = np.interp(curve["answered"], drawn["answered"], drawn["precision"])
    assert np.abs(between - curve["precision"])[curve["answered"] > 0.05].max() < 0.02
    assert downsampled(curve.iloc[:3]).equals(curve.iloc[:3])


def test_the_rejection_curve_counts_equal_scores_together() -> None:
    answers = Top1(np.array([0.9, 0.5, 0.5, 0.2]), np.array([True, False, True, False]))
    curve = rejection(answers)
    assert curve["threshold"].tolist() == [0.9, 0.5, 0.2]
    assert curve["answered"].tolist() == [0.25, 0.75, 1.0]
    assert curve["precision"].tolist() == pytest.approx([1, 2 / 3, 1 / 2])


def test_measures_are_scikit_learns() -> None:
    calibration, answers = fit(simulated(0), "platt"), simulated(2, 1000)
    predicted = probability(calibration, answers.scores)
    assert calibration_measures(calibration, None, answers)["brier_score"] == pytest.approx(
        brier_score_loss(answers.right, predicted)
    )
    table = reliability(calibration, Top1(np.random.default_rng(0).random(1000), answers.right))
    right, mean = calibration_curve(
        answers.right, probability(calibration, np.random.default_rng(0).random(1000)), n_bins=10, strategy="quantile"
    )
    np.testing.assert_allclose(table["right"], right, atol=0.011)
    np.testing.assert_allclose(table["predicted"], mean, atol=0.011)


def test_the_precision_from_a_threshold_on_is_counted() -> None:
    answers = Top1(np.array([0.9, 0.5, 0.5, 0.2]), np.array([True, False, True, False]))
    assert [precision_at_threshold(at, answers) for at in (0.6, 0.5, 0.0)] == [1.0, pytest.approx(2 / 3), 0.5]
    assert precision_at_threshold(0.95, answers) is None and precision_at_threshold(None, answers) is None


def test_questions_of_equal_probability_are_one_point_of_the_reliability_curve() -> None:
    """However they stand in the file: cut apart, their shares would differ by chance of order."""
    steps = {"method": "isotonic", "scores": [0.0, 0.2, 0.4, 1.0], "probabilities": [0.1, 0.1, 0.6, 0.6]}
    right = np.array([False, True] * 30)
    answers = Top1(np.r_[np.zeros(20), np.full(40, 0.5)], right)
    table = reliability(steps, answers)
    assert table.to_dict("list") == {
        "predicted": pytest.approx([0.1, 0.6]),
        "right": [0.5, 0.5],
        "questions": [20, 40],
    }


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_answers_that_are_all_alike_give_a_flat_curve_that_is_never_certain_and_say_so(
    method: str, right: bool
) -> None:
    """By Laplace's rule of succession; the form stays that of the method that was asked for."""
    answers = Top1(np.linspace(0.1, 0.7, 30), np.full(30, right))
    found = calibrate(answers, answers, method, 0.9)
    assert found.learned["method"] == method
    share = 31 / 32 if right else 1 / 32
    assert probability(found.learned, np.array([-1.0, 0.4, 1.0])) == pytest.approx([share] * 3)
    reason = f"of 30 dev questions {'all' if right else 'none'} had a right first document"
    assert (found.learned["flat"], found.held_out["flat"]) == (reason, reason)
    threshold = threshold_for(answers, 0.9)
    assert threshold == (pytest.approx(0.1, abs=1e-6) if right else None)
    assert found.held_out["precision"] == (1.0 if right else None)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_scores_that_tell_nothing_are_called_so_and_others_are_not(method: str) -> None:
    scores = np.linspace(0, 1, 100)
    assert "flat" not in calibrate(Top1(scores, scores > 0.5), Top1(scores, scores > 0.5), method, 0.9).learned
    misled = calibrate(Top1(scores, scores < 0.4), Top1(scores, scores < 0.4), method, 0.9)
    assert "not right more often" in misled.learned["flat"]
    equal = Top1(np.full(100, 0.5), scores < 0.4)
    assert "have the same score" in calibrate(equal, equal, method, 0.9).learned["flat"]


@pytest.mark.parametrize("factor", [1.0, 1e-7])
def test_a_threshold_keeps_six_digits_however_small_the_scores(factor: float) -> None:
    """Reciprocal ranks with a large constant are millionths: to six decimals all of them would be answered."""
    scores = factor * np.linspace(0.1, 0.7, 60)
    threshold = threshold_for(Top1(scores, np.arange(60) >= 30), 1.0)
    assert threshold is not None
    assert (scores >= threshold).sum() == 30 and json_files.rounded(threshold) == threshold


def test_first_documents_are_judged() -> None:
    rows = [
        (np.array([1, 0]), np.array([0.5, 0.25])),
        (np.array([], int), np.array([])),
        (np.array([0]), np.array([1.0])),
    ]
    queries = [Query("a", "", {"x": 1}), Query("b", "", {"x": 1}), Query("c", "", {"x": 1})]
    answers = top1_predictions(queries, rankings_of(rows, 2), ["x", "y"])
    assert answers.scores.tolist() == [0.5, 1.0]
    assert answers.right.tolist() == [False, True]
