"""Scores one can use: what a cosine means after fine-tuning, learned on dev questions.

A question's first document is right or not; its score says how likely that is, once fitted by a sigmoid (`platt`: Platt
1999, a scale and a shift) or isotonic regression (Zadrozny and Elkan 2002). The threshold is the lowest score from
which on first documents are right as often as wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.special
from numpy.typing import NDArray

from embedtune.corpus import Query
from embedtune.search import Rankings

BINS = 10  # of the reliability curve, at most; equal in number of questions but for equal probabilities
MIN_QUESTIONS = 30  # to learn from
MIN_ANSWERED = 20  # of them above a threshold
CURVE_POINTS = 200  # of the rejection curve, at most
REGULARISATION = 1e4  # inverse strength: next to none, but finite for scores that separate right from wrong


@dataclass(frozen=True)
class Answers:
    """Every question's first document: `scores` float64 and whether it is `right`, both (questions,)."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]


def first_answers(queries: list[Query], rankings: Rankings, document_ids: list[str]) -> Answers:
    """The first documents of `rankings`; a question that found none is left out."""
    found = rankings.documents[:, 0] >= 0
    right = [
        document_ids[document] in query.relevant()
        for query, document in zip(queries, rankings.documents[:, 0], strict=True)
    ]
    return Answers(rankings.scores[found, 0].astype(np.float64), np.array(right, dtype=bool)[found])


def halves(answers: Answers, rng: np.random.Generator) -> tuple[Answers, Answers]:
    """Two random halves: one to learn from, one to check on."""
    first, second = np.array_split(rng.permutation(len(answers.scores)), 2)
    return Answers(answers.scores[first], answers.right[first]), Answers(answers.scores[second], answers.right[second])


def fit(answers: Answers, method: str) -> dict[str, Any]:
    """The calibration, as `probability` reads it.

    platt: {method, scale, shift}, the probability being 1 / (1 + exp(-(scale * score + shift))); scores that say
    nothing, or the contrary, get the scale 0. isotonic: {method, scores, probabilities}, points to interpolate between.
    Where all answers are right, or none is, a flat curve.
    """
    lowest, highest = float(answers.scores.min()), float(answers.scores.max())
    if answers.right.all() or not answers.right.any():
        share = float(answers.right[0])
        return {"method": "isotonic", "scores": [lowest, highest], "probabilities": [share, share]}
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(answers.scores, answers.right)
        points, values = curve.X_thresholds_, curve.y_thresholds_
        return {"method": "isotonic", "scores": points.tolist(), "probabilities": values.tolist()}
    from sklearn.linear_model import LogisticRegression

    centre, spread = answers.scores.mean(), answers.scores.std() or 1.0
    model = LogisticRegression(C=REGULARISATION).fit(((answers.scores - centre) / spread)[:, None], answers.right)
    scale = float(model.coef_[0, 0] / spread)
    if scale <= 0:
        return {"method": "platt", "scale": 0.0, "shift": float(scipy.special.logit(answers.right.mean()))}
    return {"method": "platt", "scale": scale, "shift": float(model.intercept_[0] - scale * centre)}


def probability(calibration: dict[str, Any], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """How likely documents of these scores are right, by a calibration of `fit`."""
    result: NDArray[np.float64]
    if calibration["method"] == "platt":
        result = scipy.special.expit(calibration["scale"] * scores + calibration["shift"])
    else:
        result = np.interp(scores, calibration["scores"], calibration["probabilities"])
    return result


def rejection(answers: Answers) -> pd.DataFrame:
    """Answering only from a score on, best scores first: columns threshold, answered (a share), precision."""
    order = np.argsort(-answers.scores, kind="stable")
    scores, right = answers.scores[order], answers.right[order]
    last = np.append(scores[1:] != scores[:-1], True)  # equal scores are answered together
    count = np.arange(1, len(scores) + 1)
    table = pd.DataFrame({"threshold": scores, "answered": count / len(scores), "precision": np.cumsum(right) / count})
    return table[last].reset_index(drop=True)


def thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """At most CURVE_POINTS rows of a rejection curve, evenly spread, its ends among them: enough to draw it."""
    rows = np.linspace(0, len(curve) - 1, min(CURVE_POINTS, len(curve))).round().astype(int)
    return curve.iloc[rows]


def threshold_for(answers: Answers, precision: float) -> float | None:
    """The lowest score from which on first documents are right in at least `precision` of all cases; None: none is.

    At least MIN_ANSWERED questions have to stand above it. Rounded to six digits, as files have it, downwards.
    """
    curve = rejection(answers)
    count = curve["answered"] * len(answers.scores)
    enough = curve[(curve["precision"] >= precision) & (count.round() >= MIN_ANSWERED)]
    return float(np.floor(enough["threshold"].iloc[-1] * 1e6) / 1e6) if len(enough) else None


def reliability(calibration: dict[str, Any], answers: Answers) -> pd.DataFrame:
    """Questions in groups of rising probability, equal ones together: columns predicted, right (means), questions."""
    predicted = probability(calibration, answers.scores)
    ranked = np.sort(predicted)
    group_of = np.searchsorted(ranked, predicted) * BINS // len(predicted)  # by the first of equal probabilities
    groups = [group_of == group for group in np.unique(group_of)]
    return pd.DataFrame(
        {
            "predicted": [float(predicted[group].mean()) for group in groups],
            "right": [float(answers.right[group].mean()) for group in groups],
            "questions": [int(group.sum()) for group in groups],
        }
    )


def precision_from(threshold: float | None, answers: Answers) -> float | None:
    """The share of first documents scoring at least `threshold` that are right; None where there are none."""
    kept = answers.scores >= (np.inf if threshold is None else threshold)
    return float(answers.right[kept].mean()) if kept.any() else None


def measures(calibration: dict[str, Any], threshold: float | None, answers: Answers) -> dict[str, float | None]:
    """How well both hold on other questions.

    `expected_calibration_error` (Naeini et al. 2015) and `brier_score` of the probabilities; `precision` and `answered`
    (a share) from the threshold on, None and 0 where there is none.
    """
    predicted = probability(calibration, answers.scores)
    groups = reliability(calibration, answers)
    weights = groups["questions"] / len(predicted)
    kept = answers.scores >= (np.inf if threshold is None else threshold)
    return {
        "expected_calibration_error": float((weights * (groups["predicted"] - groups["right"]).abs()).sum()),
        "brier_score": float(((predicted - answers.right) ** 2).mean()),
        "answered": float(kept.mean()),
        "precision": precision_from(threshold, answers),
        "right_without_threshold": float(answers.right.mean()),
    }
