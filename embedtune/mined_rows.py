"""What mining leaves behind: rows to train on, counts, and two views for people: score gaps and a readable sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtune.corpus import Query
from embedtune.mine import Mined, Pool, Recipe

GAP_WIDTH = 0.05  # of a bar of the plot
KINDS = ("hard", "dataset", "random")
SAMPLED_ROWS, SHOWN_NEGATIVES, SHOWN_CHARACTERS = 20, 5, 120


def mined_rows(pool: Pool, mined: list[Mined], texts: dict[int, str]) -> Iterator[dict[str, Any]]:
    """Rows of data/mined/<round>.jsonl: FlagEmbedding's `query`, `pos`, `neg`, and what is known of each beside them.

    `texts` is passage number -> text. `pos_margins` say how sure the choice of each positive was; `mining_scores` are
    inner products by the model that the round starts from; `scores` a teacher's, as FlagEmbedding's distillation reads
    them, where the data set has any (null for a passage without).
    """
    ids, document = pool.passages.document_ids, pool.passages.document
    for row in mined:
        negatives = [negative.passage for negative in row.negatives]
        rounded = [round(float(score), 6) for score in row.scores]
        named = [ids[document[passage]] for passage in row.positives + negatives]
        split = len(row.positives)
        teacher = pool.queries[row.query].scores
        taught = [teacher.get(name) for name in named]
        yield {
            "query_id": pool.queries[row.query].id,
            "query": pool.queries[row.query].text,
            "pos": [texts[passage] for passage in row.positives],
            "neg": [texts[passage] for passage in negatives],
            "pos_ids": named[:split],
            "neg_ids": named[split:],
            "pos_passages": row.positives,
            "neg_passages": negatives,
            "pos_mining_scores": rounded[:split],
            "pos_margins": [None if margin is None else round(margin, 6) for margin in row.margins],
            "neg_mining_scores": rounded[split:],
            **({"pos_scores": taught[:split], "neg_scores": taught[split:]} if teacher else {}),
            "neg_kinds": [negative.kind for negative in row.negatives],
            "neg_ranks": [negative.rank for negative in row.negatives],
        }


def mining_counts(pool: Pool, mined: list[Mined], recipe: Recipe) -> dict[str, Any]:
    """What metrics/mining/<round>.json says: what was drawn and refused, and how often the positive was right."""
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
        "negatives_above_positive_share": float((np.concatenate(list(_gaps(mined).values())) < 0).sum())
        / max(1, total),
        "questions_with_fewer_negatives": sum(len(row.negatives) < recipe.negatives for row in mined),
        "refused_relevant_document": refused["relevant_document"],
        "refused_text_of_relevant_document": refused["text_of_relevant_document"],
        "refused_text_drawn_before": refused["text_drawn_before"],
        "refused_near_duplicate_of_relevant_document": refused["near_duplicate_of_relevant_document"],
        "refused_score_too_high": refused["score_too_high"],
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


def held_out_counts(pool: Pool, mined: list[Mined], splits: dict[str, list[Query]]) -> dict[str, int]:
    """How many negatives are documents that a question of another split has for its answer, by split."""
    ids, document = pool.passages.document_ids, pool.passages.document
    drawn = Counter(ids[document[negative.passage]] for row in mined for negative in row.negatives)
    return {
        f"negatives_relevant_in_{split}": sum(drawn[i] for i in {i for query in queries for i in query.relevant()})
        for split, queries in splits.items()
    }


def _gaps(mined: list[Mined]) -> dict[str, NDArray[np.float32]]:
    """Kind -> how far each negative of it scores below its question's best positive."""
    gaps: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for row in mined:
        count = len(row.positives)
        for negative, score in zip(row.negatives, row.scores[count:], strict=True):
            gaps[negative.kind].append(row.scores[:count].max() - score)
    return {kind: np.array(values, dtype=np.float32) for kind, values in gaps.items()}


def score_gaps(mined: list[Mined]) -> pd.DataFrame:
    """How far negatives score below their question's best positive: a histogram for a plot.

    Columns gap (the middle of a bar of `GAP_WIDTH`), hard, dataset, random: the share of each kind's negatives in it.
    Below 0 a negative scores above the positive.
    """
    bars = {kind: np.floor(gaps / GAP_WIDTH).astype(int) for kind, gaps in _gaps(mined).items()}
    every = np.concatenate(list(bars.values()))
    columns = np.arange(every.min(), every.max() + 1) if len(every) else np.arange(0)
    table = {"gap": ((columns + 0.5) * GAP_WIDTH).round(6)}
    for kind, places in bars.items():
        counts = np.bincount(places - columns[0], minlength=len(columns)) if len(places) else np.zeros(len(columns))
        table[kind] = (counts / max(1, len(places))).round(6)
    return pd.DataFrame(table)


def sampled(mined: list[Mined]) -> list[Mined]:
    """Some of the questions, evenly spread, for `sample_text`."""
    return mined[:: max(1, len(mined) // SAMPLED_ROWS)][:SAMPLED_ROWS]


def sample_text(rows: Iterable[dict[str, Any]]) -> str:
    """Mined rows for people to read, in Markdown: positives, and of each question the negatives that score highest."""
    parts = [
        "# A sample of the mined rows",
        "`score` is the searching model's, `rank` its document's.",
    ]
    for row in rows:
        parts.append(f"## {_shown(row['query'])}")
        lines = ["| | document | score | rank | text |", "| --- | --- | --- | --- | --- |"]
        positives = zip(row["pos_ids"], row["pos_mining_scores"], row["pos"], strict=True)
        lines += [f"| positive | {i} | {score:.3f} | | {_shown(text)} |" for i, score, text in positives]
        names = ("neg_mining_scores", "neg_kinds", "neg_ids", "neg_ranks", "neg")
        negatives = sorted(zip(*(row[name] for name in names), strict=True), key=lambda negative: -negative[0])
        lines += [
            f"| {kind} | {i} | {score:.3f} | {rank or ''} | {_shown(text)} |"
            for score, kind, i, rank, text in negatives[:SHOWN_NEGATIVES]
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _shown(text: str) -> str:
    """A text on one line, cut short, with nothing that Markdown would take for a table's."""
    line = " ".join(text.split())
    return (line[:SHOWN_CHARACTERS] + ("…" if len(line) > SHOWN_CHARACTERS else "")).replace("|", "\\|")


def _holds_answer(pool: Pool, passage: int, answer: dict[str, Any]) -> bool:
    """Whether the passage holds at least half of the answer's characters."""
    start = max(answer["start"], int(pool.passages.char_start[passage]))
    end = min(answer["end"], int(pool.passages.char_end[passage]))
    return bool(2 * (end - start) >= answer["end"] - answer["start"])


def used_passages(mined: list[Mined]) -> NDArray[np.int64]:
    """The numbers of all passages in the mined rows, each once, ascending; shape (n,)."""
    numbers = {p for row in mined for p in row.positives} | {n.passage for row in mined for n in row.negatives}
    return np.array(sorted(numbers), dtype=np.int64)
