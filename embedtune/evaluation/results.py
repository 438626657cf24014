"""The files of a system's results: its description, rankings and per-query scores; curves by cutoff and by slice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from embedtune.core import files, json_files
from embedtune.data.corpus import Query
from embedtune.evaluation.measures import write_curve, write_run
from embedtune.evaluation.per_query import write_by_query
from embedtune.retrieval.rankings import Rankings, cut, write_rankings
from embedtune.retrieval.system import SYSTEM

RUN, PER_QUERY = "run.trec", "per_query.csv"  # in the directory of a system's run
BY_CUTOFF, BY_SLICE = "by_cutoff.csv", "by_slice.csv"  # in the directory of its plots


def write_run_folder(
    directory: Path,
    name: str,
    queries: list[Query],
    rankings: Mapping[str, Rankings],
    split: str,
    document_ids: list[str],
    scores: pd.DataFrame,
    system: Mapping[str, Any],
    depth: int,
) -> None:
    """Write the directory of the system `name`: its description `system`, and its `rankings`, whole, by split.

    Of the evaluated `split`, whose queries and per-query `scores` are given, it also writes a TREC run of `depth`
    documents a query, and the scores.
    """
    with files.atomic_directory(directory) as target:
        json_files.write_json(target / SYSTEM, system)
        for part, ranked in rankings.items():
            write_rankings(target, part, ranked)
        write_run(target / RUN, queries, cut(rankings[split], depth), document_ids, name)
        write_by_query(scores, target / PER_QUERY)


def write_plots(directory: Path, scores: pd.DataFrame, cutoffs: list[int], groups: pd.DataFrame) -> None:
    """Write the directory of a system's plots: by_cutoff.csv and by_slice.csv, of its per-query scores.

    `groups` has the slices of each query, index query_id (see slices.py).
    """
    means = {str(measure): float(mean) for measure, mean in scores.mean().items()}
    with files.atomic_directory(directory) as target:
        write_curve(target / BY_CUTOFF, means, cutoffs)
        sliced_means(scores, groups).round(6).to_csv(target / BY_SLICE, index=False)


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
