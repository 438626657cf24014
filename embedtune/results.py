"""What every system leaves behind, under its name: a TREC run, scores per question, means, a curve, means by group."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from embedtune import files
from embedtune.corpus import Query
from embedtune.measures import per_query_scores, write_curve, write_run
from embedtune.search import Rankings

RUNS, METRICS = Path("data/runs"), Path("metrics")


def write_results(
    name: str,
    queries: list[Query],
    rankings: Rankings,
    document_ids: list[str],
    cutoffs: list[int],
    groups: pd.DataFrame,
    extra: dict[str, float] | None = None,
) -> None:
    """Write data/runs/<name>.trec and .per_query.csv, metrics/<name>.json, metrics/plots/<name>.csv and plots/slices/.

    `groups` are the questions' slices (see slices.py); `extra` joins the means in <name>.json.
    """
    scores = per_query_scores(queries, rankings, document_ids, cutoffs)
    means = {str(measure): float(mean) for measure, mean in scores.mean().items()}
    write_run(RUNS / f"{name}.trec", queries, rankings, document_ids, name)
    with files.whole_file(RUNS / f"{name}.per_query.csv") as partial:
        scores.to_csv(partial)
    write_curve(METRICS / "plots" / f"{name}.csv", means, cutoffs)
    with files.whole_file(METRICS / "plots" / "slices" / f"{name}.csv") as partial:
        sliced_means(scores, groups).round(6).to_csv(partial, index=False)
    files.write_json(METRICS / f"{name}.json", means | (extra or {}))


def sliced_means(scores: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """Columns slice (such as query_length=10-20), questions, and the mean of every measure; in the order of bounds."""
    rows = []
    for column in groups.columns:
        for name in sorted(groups[column].unique(), key=_lower_bound):
            chosen = scores.loc[groups.index[groups[column] == name]]
            rows.append({"slice": f"{column}={name}", "questions": len(chosen), **chosen.mean()})
    return pd.DataFrame(rows, columns=["slice", "questions", *scores.columns])


def _lower_bound(group: str) -> float:
    number = group.split("-")[0].removeprefix("over_")
    return float(number) if number.isdigit() else float("inf")
