"""Evaluate a system: rank documents with any searcher for dev and for the evaluated split, measure, write it all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from embedtune.data.corpus import Query, read_queries
from embedtune.evaluation.correlation import (
    JUDGED_DEPTH,
    agreement,
    fitted_line,
    is_graded,
    judged_ndcg,
    judged_scores,
)
from embedtune.evaluation.measures import FAMILIES, per_query_scores
from embedtune.evaluation.per_query import shown_measure
from embedtune.evaluation.results import write_plots, write_run_folder
from embedtune.retrieval.rankings import Rankings, cut
from embedtune.retrieval.searcher import Searcher
from embedtune.retrieval.system import Description

DEV = "dev"


def read_asked(queries: Path, qrels: Path, split: str) -> dict[str, list[Query]]:
    """The queries of the evaluated `split`, and those of dev, if there are any; both arguments are directories."""
    asked = {name: read_queries(queries, qrels, name) for name in dict.fromkeys((DEV, split))}
    return {name: found for name, found in asked.items() if found or name == split}


def evaluate(
    name: str,
    searcher: Searcher,
    queries: Mapping[str, list[Query]],
    split: str,
    cutoffs: list[int],
    groups: pd.DataFrame,
    *,
    depth: int,
    system: Description,
    run: Path,
    plots: Path,
    judged: Callable[[Sequence[Query]], Rankings] | None = None,
) -> tuple[dict[str, Rankings], dict[str, float]]:
    """Rank the documents for the queries of each split, and write the directories `run` and `plots` (see results.py).

    `queries` has the evaluated `split`, and dev if there are dev queries. `groups` are the slices of the former (see
    slices.py). Rankings have `depth` documents a query, and at least the last of `cutoffs`. `system` is the system's
    description (see system.py). Where judgments are graded, `judged` ranks each query's judged documents alone; without
    it they are looked for in the rankings.

    Returns split -> rankings, and measure -> mean over the queries of `split`, with those of dev under dev_<measure>;
    where judgments are graded, the figures of correlation.py are among them. Raises EmbedTuneError if `split` has no
    query.
    """
    ids = searcher.document_ids
    graded = is_graded([query for asked in queries.values() for query in asked])
    kept = max(depth, *cutoffs)
    searched = max(kept, JUDGED_DEPTH) if graded and judged is None else kept
    rankings = {part: searcher.rank(asked, searched) for part, asked in queries.items()}
    scores = {part: per_query_scores(asked, rankings[part], ids, cutoffs) for part, asked in queries.items()}
    agreements: dict[str, dict[str, float]] = {}
    if graded:
        own = {part: judged(asked) for part, asked in queries.items()} if judged else rankings
        pairs = {part: judged_scores(asked, own[part], ids) for part, asked in queries.items()}
        line = fitted_line(pairs.get(DEV, pairs[split]))
        agreements = {part: agreement(found, line) for part, found in pairs.items()}
        for part, asked in queries.items():
            scores[part] = scores[part].assign(**judged_ndcg(asked, own[part], ids, cutoffs))
        rankings = {part: cut(ranked, kept) for part, ranked in rankings.items()}
    write_run_folder(run, name, queries[split], rankings, split, ids, scores[split], system, max(cutoffs))
    write_plots(plots, scores[split], cutoffs, groups)
    means = {str(measure): float(mean) for measure, mean in scores[split].mean().items()} | agreements.get(split, {})
    if DEV in scores:
        of_dev = {str(measure): float(mean) for measure, mean in scores[DEV].mean().items()} | agreements.get(DEV, {})
        means |= {f"{DEV}_{measure}": mean for measure, mean in of_dev.items()}
    return rankings, means


def figures(means: Mapping[str, float], questions: int, split: str) -> str:
    """What was measured in a line: NDCG and recall on the evaluated `split`, NDCG on dev; `means` are `evaluate`'s."""
    measures = [measure for measure in means if "@" in measure and measure.split("@")[0] in FAMILIES]
    shown = shown_measure(measures)
    beside = [f"recall@{shown.partition('@')[2]}"] if shown.startswith("ndcg@") else []
    told = ", ".join(f"{measure} {means[measure]:.4f}" for measure in (shown, *beside))
    dev = f"; on dev {shown} {means[f'{DEV}_{shown}']:.4f}" if split != DEV and f"{DEV}_{shown}" in means else ""
    return f"{told} on {questions} {split} questions{dev}"
