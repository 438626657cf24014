"""The slices that queries are grouped into (see slices.py), named by their bounds, such as 1000-2000."""

from __future__ import annotations

UNKNOWN = "unknown"
BOUNDS = {
    "query_length": [10, 20, 40, 80],  # characters
    "document_length": [1_000, 2_000, 4_000, 8_000, 16_000],  # characters of the shortest relevant document
    "answer_position": [500, 2_000, 4_000, 8_000],  # characters of the document before the answer
}


def group_names(column: str) -> list[str]:
    """The names of all groups of a column, in ascending order, unknown last."""
    bounds = BOUNDS[column]
    names = [f"{lower}-{upper}" for lower, upper in zip([0, *bounds], bounds, strict=False)]
    return [*names, f"over_{bounds[-1]}", *([UNKNOWN] if column != "query_length" else [])]


def group_of(value: int, column: str) -> str:
    """The name of the group that contains `value`: lower bound < value <= upper bound (the first contains 0 too)."""
    return group_names(column)[sum(value > bound for bound in BOUNDS[column])]
