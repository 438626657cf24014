"""Mining statistics: counts of drawn and rejected candidates, and how far negatives score below positives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtune.data.corpus import Query
from embedtune.mining.mine import MinedQuery, MiningData, MiningSettings

SHORTAGE = 0.1  # share of missing hard negatives from which on a warning is due
GAP_WIDTH = 0.05  # width of a histogram bin, in units of the score
KINDS = ("hard", "dataset", "random")


def mining_counts(pool: MiningData, mined: list[MinedQuery], recipe: MiningSettings) -> dict[str, Any]:
    """Counts of drawn and rejected candidates, for the metrics file.

    `positive_right_share` is the share of positives that contain at least half of the answer. It is present only if the
    data set marks answers in relevant documents.
    """
    kinds = Counter(negative.kind for row in mined for negative in row.negatives)
    refused: Counter[str] = sum((row.refused for row in mined), Counter())
    total = sum(kinds.values())
    counts: dict[str, Any] = {
        "questions": len(mined),
        "positives": sum(len(row.positives) for row in mined),
        "negatives": total,
        "negatives_hard": kinds["hard"],
        "negatives_dataset": kinds["dataset"],
        "negatives_random": kinds["random"],
        "hard_share": (kinds["hard"] + kinds["dataset"]) / max(1, total),
        "hard_filled_with_random": sum(row.filled for row in mined),
        "hard_missing_share": sum(row.missing for row in mined) / max(1, recipe.hard * len(mined)),
        "positives_without_a_match": sum(row.unmatched for row in mined),
        "negatives_above_positive_share": float((np.concatenate(list(_gaps(mined).values())) < 0).sum())
        / max(1, total),
        "questions_with_fewer_negatives": sum(len(row.negatives) < recipe.negatives for row in mined),
        "refused_relevant_document": refused["relevant_document"],
        **({"refused_partly_relevant_document": partly} if (partly := refused["partly_relevant_document"]) else {}),
        "refused_text_of_query": refused["text_of_query"],
        "refused_text_of_relevant_document": refused["text_of_relevant_document"],
        "refused_text_drawn_before": refused["text_drawn_before"],
        "refused_near_duplicate_of_relevant_document": refused["near_duplicate_of_relevant_document"],
        "refused_score_too_high": refused["score_too_high"],
        **({"refused_as_good_for_teacher": as_good} if (as_good := refused["as_good_for_teacher"]) else {}),
    }
    right = [
        _holds_answer(pool, passage, answer)
        for row in mined
        for answer in pool.queries[row.query].answers
        for passage in row.positives
        if pool.passages.document_ids[pool.passages.document[passage]] == answer["docid"]
    ]
    if right:
        counts["positive_right_share"] = sum(right) / len(right)
    return counts


def shortages(counts: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each shortage in `mining_counts`, with parameters in backticks."""
    if counts["hard_missing_share"] > SHORTAGE:
        refused = {name: count for name, count in counts.items() if name.startswith("refused_") and count}
        yield (
            f"{counts['hard_missing_share']:.0%} of the hard negatives are missing, and random ones take their place "
            f"({counts['hard_filled_with_random']}). Candidates were refused: {refused or 'none'}. Wider `hard_ranks`, "
            "or weaker limits (`max_score_ratio`, `max_score_margin`, `near_duplicate_share`), find more"
        )
    if counts["positives_without_a_match"]:
        yield (
            f"for {counts['positives_without_a_match']} of {counts['positives']} positives no passage of the document "
            "scored, since it shares no term with the question; the first passage was taken"
        )


def held_out_counts(pool: MiningData, mined: list[MinedQuery], splits: dict[str, list[Query]]) -> dict[str, int]:
    """For each split of `splits`: how many negatives are relevant documents of one of its queries."""
    ids, document = pool.passages.document_ids, pool.passages.document
    drawn = Counter(ids[document[negative.passage]] for row in mined for negative in row.negatives)
    return {
        f"negatives_relevant_in_{split}": sum(drawn[i] for i in {i for query in queries for i in query.relevant()})
        for split, queries in splits.items()
    }


def _gaps(mined: list[MinedQuery]) -> dict[str, NDArray[np.float32]]:
    """Kind -> how far each negative of that kind scores below its query's best positive."""
    gaps: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for row in mined:
        count = len(row.positives)
        for negative, score in zip(row.negatives, row.scores[count:], strict=True):
            gaps[negative.kind].append(row.scores[:count].max() - score)
    return {kind: np.array(values, dtype=np.float32) for kind, values in gaps.items()}


def score_gaps(mined: list[MinedQuery]) -> pd.DataFrame:
    """A histogram of how far negatives score below their query's best positive, for a plot.

    The column gap is the centre of a bin of width `GAP_WIDTH`; below 0 the negative scores above the positive. The
    columns hard, dataset and random are the share of that kind's negatives in the bin.
    """
    bars = {kind: np.floor(gaps / GAP_WIDTH).astype(int) for kind, gaps in _gaps(mined).items()}
    every = np.concatenate(list(bars.values()))
    columns = np.arange(every.min(), every.max() + 1) if len(every) else np.arange(0)
    table = {"gap": ((columns + 0.5) * GAP_WIDTH).round(6)}
    for kind, places in bars.items():
        counts = np.bincount(places - columns[0], minlength=len(columns)) if len(places) else np.zeros(len(columns))
        table[kind] = (counts / max(1, len(places))).round(6)
    return pd.DataFrame(table)


def _holds_answer(pool: MiningData, passage: int, answer: dict[str, Any]) -> bool:
    """Whether the passage contains at least half of the answer's characters."""
    start = max(answer["start"], int(pool.passages.char_start[passage]))
    end = min(answer["end"], int(pool.passages.char_end[passage]))
    return bool(2 * (end - start) >= answer["end"] - answer["start"])
