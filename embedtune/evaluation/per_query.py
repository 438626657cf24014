"""Per-query results: each query's scores and top documents by a system, and the slices that it belongs to.

In the CSV files an id that a spreadsheet would take for a formula (it begins with = + - or @) has an apostrophe before
it, and so has one that begins with an apostrophe; reading takes it away again (OWASP, "CSV Injection").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import IO

import pandas as pd

from embedtune.core import json_files

QUERY_ID = "query_id"
FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "'",
)  # what makes a spreadsheet take a cell for a formula; and the mark itself


def read_scores(file: Path | IO[str]) -> pd.DataFrame:
    """Per-query scores as the stage `evaluate` writes them: index query_id (str), one float column per measure."""
    return _with_ids(pd.read_csv(file, dtype={"query_id": str}, keep_default_na=False)).astype(float)


def read_slices(path: Path) -> pd.DataFrame:
    """The slices as the stage `slices` writes them: index query_id, one column per property (see slices.py)."""
    return _with_ids(pd.read_csv(path, dtype=str, keep_default_na=False))


def write_by_query(table: pd.DataFrame, path: Path) -> None:
    """Write a table whose index query_id holds the queries' ids as CSV, as `read_scores` and `read_slices` read it."""
    ids = [f"'{query}" if query.startswith(FORMULA) else query for query in map(str, table.index)]
    table.set_axis(pd.Index(ids, name=QUERY_ID)).to_csv(path)


def _with_ids(table: pd.DataFrame) -> pd.DataFrame:
    table[QUERY_ID] = table[QUERY_ID].str.removeprefix("'")
    return table.set_index(QUERY_ID)


def first_documents(
    run: Path, depth: int | None = None, only: Collection[str] | None = None
) -> dict[str, list[tuple[str, float]]]:
    """Query id -> its top `depth` documents (None: all) with their scores, from a TREC run; [] if it has no results.

    If `only` is given, other queries are skipped.
    """
    documents: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for _, line in json_files.read_lines(run):
        query, _, document, rank, score, _ = line.decode().split()
        if (depth is None or int(rank) <= depth) and (only is None or query in only):
            documents[query].append((document, float(score)))
    return documents


def most_changed(before: pd.Series, after: pd.Series, count: int) -> tuple[list[str], list[str]]:
    """The ids of up to `count` queries with the largest gains, and of those with the largest losses, largest first.

    `before` and `after` hold one measure, indexed by query id. Ties keep the order of the queries.
    """
    gains = after - before
    lost, gained = (change.sort_values(kind="stable").iloc[:count] for change in (gains, -gains))
    return [str(q) for q in gained.index[gained < 0]], [str(q) for q in lost.index[lost < 0]]


def shown_measure(measures: list[str]) -> str:
    """The measure to show where there is room for only one: NDCG@10, else the first NDCG, else the first measure."""
    return "ndcg@10" if "ndcg@10" in measures else next((m for m in measures if m.startswith("ndcg@")), measures[0])
