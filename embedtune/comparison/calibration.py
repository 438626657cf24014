"""Calibrate retrieval scores: the probability that a question's top document is relevant, given the document's score.

After fine-tuning, a cosine has no meaning of its own. The calibration is fitted on dev questions, with a sigmoid
(`platt`: Platt 1999, a scale and a shift) or with isotonic regression (Zadrozny and Elkan 2002). The threshold is the
lowest score such that the top documents with at least that score have the wanted precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.special
from numpy.typing import NDArray

from embedtune.core import json_files
from embedtune.data.corpus import Query
from embedtune.retrieval.rankings import Rankings

BINS = 10  # most bins of the reliability curve; they hold equally many questions, but equal probabilities share a bin
MIN_QUESTIONS = 30  # fewest dev questions to fit a calibration on
MIN_ANSWERED = 20  # fewest questions that must score at least the threshold
CURVE_POINTS = 200  # most points of the rejection curve
REGULARISATION = 1e4  # inverse L2 strength: almost none, but the fit stays finite where scores separate the classes


@dataclass(frozen=True)
class Top1:
    """The top document of every question: its `scores` (float64), and `right` if relevant (bool); both (questions,)."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]


def top1_predictions(queries: list[Query], rankings: Rankings, document_ids: list[str]) -> Top1:
    """The top documents of `rankings`, without the questions for which no document was found."""
    found = rankings.documents[:, 0] >= 0
    right = [
        document_ids[document] in query.relevant()
        for query, document in zip(queries, rankings.documents[:, 0], strict=True)
    ]
    return Top1(rankings.scores[found, 0].astype(np.float64), np.array(right, dtype=bool)[found])


def split_in_halves(top1: Top1, rng: np.random.Generator) -> tuple[Top1, Top1]:
    """Two random halves of the questions: one to fit a calibration on, one to evaluate it on."""
    first, second = np.array_split(rng.permutation(len(top1.scores)), 2)
    return Top1(top1.scores[first], top1.right[first]), Top1(top1.scores[second], top1.right[second])


def fit(top1: Top1, method: str) -> dict[str, Any]:
    """Fit a calibration by `method` (platt or isotonic), in the form that `probability` reads.

    platt gives {method, scale, shift}; the probability is 1 / (1 + exp(-(scale * score + shift))). If the fitted scale
    is 0 or negative, it is set to 0, and the probability is the overall precision. isotonic gives
    {method, scores, probabilities}: the points of a piecewise linear curve. If all top documents are relevant, or none
    is, nothing can be learned about scores: both methods give one probability for all of them, (relevant + 1) /
    (questions + 2), which is Platt's target and never certain. `why_flat` says so. `top1` must hold a question.
    """
    if top1.right.all() or not top1.right.any():
        share = float((top1.right.sum() + 1) / (len(top1.right) + 2))
        if method == "platt":
            return {"method": "platt", "scale": 0.0, "shift": float(scipy.special.logit(share))}
        ends = [float(top1.scores.min()), float(top1.scores.max())]
        return {"method": "isotonic", "scores": ends, "probabilities": [share, share]}
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(top1.scores, top1.right)
        points, values = curve.X_thresholds_, curve.y_thresholds_
        return {"method": "isotonic", "scores": points.tolist(), "probabilities": values.tolist()}
    from sklearn.linear_model import LogisticRegression

    centre, spread = top1.scores.mean(), top1.scores.std() or 1.0
    model = LogisticRegression(C=REGULARISATION).fit(((top1.scores - centre) / spread)[:, None], top1.right)
    scale = float(model.coef_[0, 0] / spread)
    if scale <= 0:
        return {"method": "platt", "scale": 0.0, "shift": float(scipy.special.logit(top1.right.mean()))}
    return {"method": "platt", "scale": scale, "shift": float(model.intercept_[0] - scale * centre)}


def probability(calibration: dict[str, Any], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """The probability that documents with these scores are relevant, by a calibration of `fit`; shaped as `scores`."""
    result: NDArray[np.float64]
    if calibration["method"] == "platt":
        result = scipy.special.expit(calibration["scale"] * scores + calibration["shift"])
    else:
        result = np.interp(scores, calibration["scores"], calibration["probabilities"])
    return result


def why_flat(calibration: dict[str, Any], top1: Top1) -> str:
    """Why a calibration of `fit`, on the same `top1`, gives every score the same probability; "" if it does not."""
    if np.ptp(probability(calibration, top1.scores)) > 0:
        return ""
    count = len(top1.scores)
    if top1.right.all() or not top1.right.any():
        return f"of {count} dev questions {'all' if top1.right.all() else 'none'} had a right first document"
    if np.ptp(top1.scores) == 0:
        return f"the first documents of all {count} dev questions have the same score"
    return f"on {count} dev questions first documents with a higher score were not right more often"


def rejection(top1: Top1) -> pd.DataFrame:
    """The rejection curve: precision when only questions that score at least a threshold are answered.

    One row per distinct score, highest first. Columns: threshold, answered (fraction of the questions), precision
    (fraction of the answered questions whose top document is relevant).
    """
    order = np.argsort(-top1.scores, kind="stable")
    scores, right = top1.scores[order], top1.right[order]
    last = np.append(scores[1:] != scores[:-1], True)  # questions with equal scores are answered together
    count = np.arange(1, len(scores) + 1)
    table = pd.DataFrame({"threshold": scores, "answered": count / len(scores), "precision": np.cumsum(right) / count})
    return table[last].reset_index(drop=True)


def downsampled(curve: pd.DataFrame) -> pd.DataFrame:
    """At most CURVE_POINTS evenly spaced rows of a rejection curve, with its first and last: enough to draw it."""
    rows = np.linspace(0, len(curve) - 1, min(CURVE_POINTS, len(curve))).round().astype(int)
    return curve.iloc[rows]


def threshold_for(top1: Top1, precision: float) -> float | None:
    """The lowest score threshold with at least the wanted `precision`; None if no threshold reaches it.

    At least MIN_ANSWERED questions must score at least the threshold. It is rounded down to the decimals that a JSON
    file keeps of it.
    """
    curve = rejection(top1)
    count = curve["answered"] * len(top1.scores)
    enough = curve[(curve["precision"] >= precision) & (count.round() >= MIN_ANSWERED)]
    if not len(enough):
        return None
    lowest = float(enough["threshold"].iloc[-1])
    scale = 10.0 ** json_files.decimals_kept(lowest)
    return float(np.floor(lowest * scale) / scale)


def reliability(calibration: dict[str, Any], top1: Top1) -> pd.DataFrame:
    """The reliability curve: questions in at most BINS bins of increasing predicted probability.

    Columns: predicted (mean probability), right (fraction whose top document is relevant), questions (count).
    """
    predicted = probability(calibration, top1.scores)
    ranked = np.sort(predicted)
    group_of = np.searchsorted(ranked, predicted) * BINS // len(predicted)  # equal probabilities share a bin
    groups = [group_of == group for group in np.unique(group_of)]
    return pd.DataFrame(
        {
            "predicted": [float(predicted[group].mean()) for group in groups],
            "right": [float(top1.right[group].mean()) for group in groups],
            "questions": [int(group.sum()) for group in groups],
        }
    )


def precision_at_threshold(threshold: float | None, top1: Top1) -> float | None:
    """The fraction of top documents scoring at least `threshold` that are relevant; None without such documents."""
    kept = top1.scores >= (np.inf if threshold is None else threshold)
    return float(top1.right[kept].mean()) if kept.any() else None


def calibration_measures(calibration: dict[str, Any], threshold: float | None, top1: Top1) -> dict[str, float | None]:
    """Evaluate a calibration and a threshold on held-out questions.

    `expected_calibration_error` (Naeini et al. 2015) and `brier_score` are those of the probabilities. `answered` is
    the fraction of questions that score at least the threshold (0 without a threshold), and `precision` is measured on
    those (None if there are none). `right_without_threshold` is the precision on all questions.
    """
    predicted = probability(calibration, top1.scores)
    groups = reliability(calibration, top1)
    weights = groups["questions"] / len(predicted)
    kept = top1.scores >= (np.inf if threshold is None else threshold)
    return {
        "expected_calibration_error": float((weights * (groups["predicted"] - groups["right"]).abs()).sum()),
        "brier_score": float(((predicted - top1.right) ** 2).mean()),
        "answered": float(kept.mean()),
        "precision": precision_at_threshold(threshold, top1),
        "right_without_threshold": float(top1.right.mean()),
    }


@dataclass(frozen=True)
class Calibrated:
    """A calibration fitted on dev, its evaluation on held-out questions, and two curves of the held-out questions.

    `learned` is a calibration (see `fit`) with its `threshold`, the precision wanted and the precision on dev;
    `held_out` has `calibration_measures`. Both have `flat`, the reason, where every score has the same probability.
    `reliability` and `rejection` are empty tables if there were too few dev questions or no held-out ones.
    """

    learned: dict[str, Any]
    held_out: dict[str, Any]
    reliability: pd.DataFrame
    rejection: pd.DataFrame


def calibrate(dev: Top1, held_out: Top1, method: str, wanted_precision: float) -> Calibrated:
    """Fit a calibration and a threshold on `dev`, and evaluate both on `held_out`.

    With fewer than MIN_QUESTIONS dev questions nothing is fitted, and the threshold is None.
    """
    counts = {"dev_questions": len(dev.scores), "questions": len(held_out.scores)}
    no_curves = {
        "reliability": pd.DataFrame(columns=["predicted", "right", "questions"]),
        "rejection": pd.DataFrame(columns=["threshold", "answered", "precision"]),
    }
    if len(dev.scores) < MIN_QUESTIONS:
        nothing = {**counts, "threshold": None}
        return Calibrated(nothing, nothing, **no_curves)
    calibration = fit(dev, method)
    threshold, reason = threshold_for(dev, wanted_precision), why_flat(calibration, dev)
    flat = {"flat": reason} if reason else {}
    learned = {
        "dev_questions": len(dev.scores),
        "threshold": threshold,
        "precision_wanted": wanted_precision,
        "precision_on_dev": precision_at_threshold(threshold, dev),
        **calibration,
        **flat,
    }
    if not len(held_out.scores):
        return Calibrated(learned, {**counts, "threshold": threshold, **flat}, **no_curves)
    return Calibrated(
        learned,
        {**counts, "threshold": threshold, **flat, **calibration_measures(calibration, threshold, held_out)},
        reliability(calibration, held_out),
        downsampled(rejection(held_out)),
    )
