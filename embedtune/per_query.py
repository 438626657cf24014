"""What is kept of every question: its scores and first documents by each system, and the slices it belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import IO

import pandas as pd

from embedtune import files


def read_scores(file: Path | IO[str]) -> pd.DataFrame:
    """Per-query scores as `evaluate` writes them: index query_id (text), one column a measure."""
    return pd.read_csv(file, dtype={"query_id": str}, keep_default_na=False).set_index("query_id").astype(float)


def read_slices(path: Path) -> pd.DataFrame:
    """The slices as the stage `slices` writes them: index query_id, one column a way of slicing (see slices.py)."""
    return pd.read_csv(path, dtype=str, keep_default_na=False).set_index("query_id")


def first_documents(
    run: Path, depth: int | None = None, only: Collection[str] | None = None
) -> dict[str, list[tuple[str, float]]]:
    """Question -> its first `depth` documents (all where None) with their scores, from a TREC run; [] for no result.

    Of all questions, or of those in `only`.
    """
    documents: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for _, line in files.read_lines(run):
        query, _, document, rank, score, _ = line.decode().split()
        if (depth is None or int(rank) <= depth) and (only is None or query in only):
            documents[query].append((document, float(score)))
    return documents


def most_changed(before: pd.Series, after: pd.Series, count: int) -> tuple[list[str], list[str]]:
    """Ids of the `count` questions that gained and that lost most, most first; ties in the questions' order."""
    gains = after - before
    lost, gained = (change.sort_values(kind="stable").iloc[:count] for change in (gains, -gains))
    return [str(q) for q in gained.index[gained < 0]], [str(q) for q in lost.index[lost < 0]]


def shown_measure(measures: list[str]) -> str:
    """The measure that is shown where there is room for one: NDCG@10, or the first NDCG among them, or the first."""
    return "ndcg@10" if "ndcg@10" in measures else next((m for m in measures if m.startswith("ndcg@")), measures[0])
