"""Evaluate a system: rank documents for queries with any searcher, measure the rankings, write what was found."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from embedtune.data.corpus import Query
from embedtune.evaluation.results import write_results
from embedtune.retrieval.rankings import Rankings
from embedtune.retrieval.searcher import Searcher


def evaluate(
    name: str,
    searcher: Searcher,
    queries: list[Query],
    cutoffs: list[int],
    groups: pd.DataFrame,
    *,
    run: Path,
    plots: Path,
    depth: int = 0,
) -> tuple[Rankings, dict[str, float]]:
    """Rank the documents for the queries, and write the directories `run` and `plots` (see results.py).

    `name` is the system's, `groups` are the queries' slices (see slices.py). Rankings have `depth` documents a query,
    and at least the last of `cutoffs`. Returns them, and measure -> mean over queries. Raises EmbedTuneError if there
    is no query.
    """
    rankings = searcher.rank(queries, max(depth, *cutoffs))
    ids = searcher.document_ids
    return rankings, write_results(name, queries, rankings, ids, cutoffs, groups, run=run, plots=plots)
