"""Counts of graded judgments: how many there are, from what to what, and how they are distributed."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedtune.data.corpus import SPLITS, Query

BINS = 10


def judgment_counts(splits: dict[str, list[Query]]) -> dict[str, Any]:
    """Number, range, mean and histogram of all judgments, and of their weights; counts of each split's.

    The histogram has BINS bins of equal width from the lowest judgment to the highest, but at least from 0 to 1.
    """
    queries = [query for split in SPLITS for query in splits[split]]
    grades = np.array([grade for query in queries for grade in query.judgments.values()], dtype=np.float64)
    weights = np.array([query.weights.get(d, 1.0) for query in queries for d in query.judgments], dtype=np.float64)
    bins = (min(0.0, float(grades.min())), max(1.0, float(grades.max())))
    counts, edges = np.histogram(grades, BINS, range=bins)
    return {
        "judgments": len(grades),
        "judgments_relevant": sum(len(query.relevant()) for query in queries),
        "judgment_min": float(grades.min()),
        "judgment_max": float(grades.max()),
        "judgment_mean": float(grades.mean()),
        "judgment_histogram": [
            {"from": float(low), "to": float(high), "judgments": int(count)}
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ],
        "weight_min": float(weights.min()),
        "weight_max": float(weights.max()),
        **{f"{split}_judgments": sum(len(query.judgments) for query in splits[split]) for split in SPLITS},
        **{
            f"{split}_queries_without_relevant": sum(not query.relevant() for query in splits[split])
            for split in SPLITS
        },
    }
