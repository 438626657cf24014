"""What a comparison says in sentences, for the report, the model card and the terminal: no more than is sure.

All functions read a `comparison` of comparison.py: means, intervals, and tests corrected for their number (Holm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedtune.evaluation.per_query import shown_measure

CAVEATS = {
    "train": "The models were trained on these questions: figures on them say nothing about new questions.",
    "dev": "The checkpoint and the released system were chosen on these dev questions: figures on them are too high.",
}

MEASURES = {
    "recall": "is the share of a question's relevant documents that are among the first {}",
    "ndcg": "is 1 where the relevant documents of a question stand first, less the lower they stand among the first {}",
    "mrr": "is 1 divided by the rank of a question's first relevant document, where that is among the first {}",
}


def caveat(split: str) -> str:
    """Why figures on the questions of `split` are no measure of quality; "" for test, which nothing was chosen on."""
    return CAVEATS.get(split, "")


def with_signs(rows: Mapping[str, Mapping[str, Any]], confidence: float) -> list[dict[str, Any]]:
    """[{measure, sign, **row}] of differences (see significance.py). `sign` is better, worse, or "" if not significant.

    Both the interval and the test, corrected for how many tests there are, must be significant: the interval of a few
    questions that agree is too narrow.
    """
    signed = []
    for measure, row in rows.items():
        sure = row["p_corrected"] <= 1 - confidence
        sign = "better" if sure and row["low"] > 0 else "worse" if sure and row["high"] < 0 else ""
        signed.append({"measure": measure, "sign": sign, **row})
    return signed


def headline(comparison: Mapping[str, Any], system: str, baseline: str, gains: Sequence[Mapping[str, Any]]) -> str:
    """How `system` compares with `baseline` in the measure that is shown, and in which other measures it is worse.

    `gains` are those of `system` over `baseline`, from `with_signs`.
    """
    by_measure = {row["measure"]: row for row in gains}
    measure = shown_measure(list(by_measure))
    row, means = by_measure[measure], comparison[measure]
    worse = [other for other in by_measure if other != measure and by_measure[other]["sign"] == "worse"]
    return (
        f"{_relation(system, baseline, row)}: {measure} {means[baseline]:.4f} → {means[system]:.4f}, a "
        f"{'loss' if row['difference'] < 0 else 'gain'} of {row['difference']:+.4f} "
        f"({row['low']:+.4f} to {row['high']:+.4f}, p = {row['p_corrected']:.4f})."
        + (f" It is worse in {', '.join(worse)}." if worse else "")
    )


def _relation(system: str, baseline: str, row: Mapping[str, Any]) -> str:
    """What a row of `with_signs` allows to be said. An interval beside 0 whose test is not sure is told."""
    if row["sign"]:
        return f"{system} is {row['sign']} than {baseline}"
    if row["low"] > 0 or row["high"] < 0:
        seems = "better" if row["low"] > 0 else "worse"
        return (
            f"it is not sure that {system} is {seems} than {baseline} (the interval of this comparison alone leaves 0 "
            "out; p, corrected for the number of comparisons, allows for chance)"
        )
    return f"no difference between {system} and {baseline} can be told"


def rivals(
    comparison: Mapping[str, Any], system: str, baseline: str, released: str, confidence: float
) -> list[dict[str, Any]]:
    """[{name, mean, sign, difference, low, high, p_corrected}]: systems whose mean is above the released one's.

    In the measure that is shown, highest mean first; statistics are of the other system's gain over the released one,
    which is `system` or `baseline`. The pair of these two is left out: the headline is about it.
    """
    measure = shown_measure(list(comparison["intervals"][system]))
    means = comparison[measure]
    found = []
    for name in comparison["intervals"]:
        if name in (system, baseline) or means[name] <= means[released]:
            continue
        if released == baseline:
            row = dict(comparison["pairs"][f"{name}_over_{baseline}"][measure])
        else:
            row = _turned(comparison["pairs"][f"{system}_over_{name}"][measure])
        found.append({"name": name, "mean": means[name], **with_signs({measure: row}, confidence)[0]})
    return sorted(found, key=lambda rival: -rival["mean"])


def _turned(row: Mapping[str, Any]) -> dict[str, Any]:
    """The statistics of the opposite difference."""
    return {**row, "difference": -row["difference"], "low": -row["high"], "high": -row["low"]}


def rival_sentences(found: Sequence[Mapping[str, Any]], released: str) -> list[str]:
    """A sentence on each system of `rivals`."""
    return [
        f"{row['name']} {'is better than' if row['sign'] else 'has a higher mean than'} {released}, which is released: "
        f"{row['measure']} {row['mean']:.4f}, {row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f}, "
        f"p = {row['p_corrected']:.4f})" + ("." if row["sign"] else "; that may be chance.")
        for row in found
    ]


def findings(
    comparison: Mapping[str, Any], system: str, baseline: str, released: str, split: str, confidence: float
) -> list[str]:
    """The headline, a sentence on each system that has a higher mean than the released one, and the split's caveat."""
    gains = with_signs(comparison["pairs"][f"{system}_over_{baseline}"], confidence)
    found = rivals(comparison, system, baseline, released, confidence)
    first = f"On these questions, {headline(comparison, system, baseline, gains)}"
    return [first, *rival_sentences(found, released), *([caveat(split)] if caveat(split) else [])]


def explained(measure: str) -> str:
    """What a measure such as ndcg@10 says, in a sentence; "" for one that is not known."""
    family, _, cutoff = measure.partition("@")
    return f"{measure} {MEASURES[family].format(cutoff)}." if family in MEASURES else ""
