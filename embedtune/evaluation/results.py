"""The results of a retrieval system: TREC run, per-query scores, means, curve by cutoff, means by slice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from embedtune.core import files
from embedtune.data.corpus import Query
from embedtune.evaluation.measures import per_query_scores, write_curve, write_run
from embedtune.retrieval.rankings import Rankings

RUN, PER_QUERY = "run.trec", "per_query.csv"  # in the directory of a system's run
BY_CUTOFF, BY_SLICE = "by_cutoff.csv", "by_slice.csv"  # in the directory of its plots


def write_results(
    name: str,
    queries: list[Query],
    rankings: Rankings,
    document_ids: list[str],
    cutoffs: list[int],
    groups: pd.DataFrame,
    *,
    run: Path,
    plots: Path,
) -> dict[str, float]:
    """Write the directories `run` (run.trec, per_query.csv) and `plots` (by_cutoff.csv, by_slice.csv).

    `name` is the system's name. `groups` has the slices of each query, index query_id (see slices.py). Returns
    measure -> mean over the queries. Raises EmbedTuneError if there are no queries.
    """
    scores = per_query_scores(queries, rankings, document_ids, cutoffs)
    means = {str(measure): float(mean) for measure, mean in scores.mean().items()}
    with files.atomic_directory(run) as target:
        write_run(target / RUN, queries, rankings, document_ids, name)
        scores.to_csv(target / PER_QUERY)
    with files.atomic_directory(plots) as target:
        write_curve(target / BY_CUTOFF, means, cutoffs)
        sliced_means(scores, groups).round(6).to_csv(target / BY_SLICE, index=False)
    return means


def sliced_means(scores: pd.DataFrame, groups: pd.DataFrame) -> pd.DataFrame:
    """The mean of every measure by slice, ordered by the slices' bounds.

    Columns: slice (such as query_length=10-20), questions (their number), and one per measure.
    """
    rows = []
    for column in groups.columns:
        for name in sorted(groups[column].unique(), key=_lower_bound):
            chosen = scores.loc[groups.index[groups[column] == name]]
            rows.append({"slice": f"{column}={name}", "questions": len(chosen), **chosen.mean()})
    return pd.DataFrame(rows, columns=["slice", "questions", *scores.columns])


def _lower_bound(group: str) -> float:
    number = group.split("-")[0].removeprefix("over_")
    return float(number) if number.isdigit() else float("inf")
