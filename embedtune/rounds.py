"""What changes from one mining round to the next: which negatives are drawn, and what the models rank first."""

from __future__ import annotations

from pathlib import Path

from embedtune import files
from embedtune.per_query import first_documents

RANKED = 10  # of a question's results that are compared


def rounds_table(rounds: dict[str, str], mined: Path, runs: Path) -> dict[str, dict[str, float]]:
    """Round -> how far it is from the model it starts from.

    `top10_kept` is the mean share of a question's first ten documents that the earlier model has among its first ten;
    for a round after another round, `negatives_kept` is the share of its negatives that the earlier one has too.
    """
    table: dict[str, dict[str, float]] = {}
    for name, start in rounds.items():
        ours, theirs = (_first_documents(runs / f"{system}.trec") for system in (name, start))
        shares = [len(ours[query] & theirs[query]) / len(ours[query]) for query in ours]
        table[name] = {"top10_kept": sum(shares) / max(1, len(shares))}
        if start in rounds:
            drawn, earlier = (_negatives(mined / f"{system}.jsonl") for system in (name, start))
            table[name]["negatives_kept"] = len(drawn & earlier) / max(1, len(drawn))
    return table


def _first_documents(run: Path) -> dict[str, set[str]]:
    return {query: {name for name, _ in ranked} for query, ranked in first_documents(run, RANKED).items()}


def _negatives(mined: Path) -> set[tuple[str, int]]:
    return {(row["query_id"], passage) for row in files.read_json_lines(mined) for passage in row["neg_passages"]}
