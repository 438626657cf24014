"""What changes from one mining round to the next: the sampled negatives, and the models' top documents."""

from __future__ import annotations

from pathlib import Path

from embedtune.evaluation.per_query import first_documents
from embedtune.evaluation.results import RUN
from embedtune.mining.mined_rows import read_negatives

RANKED = 10  # top documents of each question that are compared


def rounds_table(rounds: dict[str, str], mined: Path, runs: Path) -> dict[str, dict[str, float]]:
    """Round -> {top10_kept, negatives_kept}: how much a round agrees with the model that it starts from.

    `top10_kept` is the mean fraction of a question's top ten documents that are also in the starting model's top ten;
    an approximate index may find none for a question: such a question is left out, and one that the starting model
    found none for counts as 0.
    `negatives_kept` is the fraction of the round's negatives that the round before it also has; it is absent for a
    round that starts from the base model. `mined` and `runs` are the folders of the mined rows and of the TREC runs.
    """
    table: dict[str, dict[str, float]] = {}
    for name, start in rounds.items():
        ours, theirs = (_first_documents(runs / system / RUN) for system in (name, start))
        shares = [len(found & theirs.get(query, set())) / len(found) for query, found in ours.items()]
        table[name] = {"top10_kept": sum(shares) / max(1, len(shares))}
        if start in rounds:
            drawn, earlier = (read_negatives(mined / f"{system}.jsonl") for system in (name, start))
            table[name]["negatives_kept"] = len(drawn & earlier) / max(1, len(drawn))
    return table


def _first_documents(run: Path) -> dict[str, set[str]]:
    return {query: {name for name, _ in ranked} for query, ranked in first_documents(run, RANKED).items()}
