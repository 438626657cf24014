"""Mined rows: the format that mining writes and training reads, and a sample of them for people to read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtune.core import json_files
from embedtune.core.visible import one_line

if TYPE_CHECKING:
    from embedtune.mining.mine import MinedQuery, MiningData

SAMPLED_ROWS, SHOWN_NEGATIVES, SHOWN_CHARACTERS = 20, 5, 120


def mined_rows(pool: MiningData, mined: list[MinedQuery], texts: dict[int, str]) -> Iterator[dict[str, Any]]:
    """Yield the training rows: FlagEmbedding's fields `query`, `pos` and `neg`, and metadata of each passage.

    `texts` maps passage number -> text. `pos_margins` are the margins by which the positives were chosen (see
    positives.py). `pos_mining_scores` and `neg_mining_scores` are inner products by the model that the round starts
    from. `pos_scores` and `neg_scores` are a teacher's scores, as FlagEmbedding's distillation reads them. They are
    present only if the data set has scores for the query, and null for a passage without one.
    """
    ids, document = pool.passages.document_ids, pool.passages.document
    for row in mined:
        negatives = [negative.passage for negative in row.negatives]
        rounded = [round(float(score), 6) for score in row.scores]
        named = [ids[document[passage]] for passage in row.positives + negatives]
        split = len(row.positives)
        teacher = pool.queries[row.query].scores
        teacher_scores = [teacher.get(name) for name in named]
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
            **({"pos_scores": teacher_scores[:split], "neg_scores": teacher_scores[split:]} if teacher else {}),
            "neg_kinds": [negative.kind for negative in row.negatives],
            "neg_ranks": [negative.rank for negative in row.negatives],
        }


@dataclass(frozen=True)
class MinedRow:
    """A mined row without its passage texts: passage numbers, and a teacher's score (or None) for each, if any."""

    query_id: str
    query: str
    positives: list[int]
    negatives: list[int]
    positive_scores: Sequence[float | None] = ()
    negative_scores: Sequence[float | None] = ()

    @property
    def has_teacher_scores(self) -> bool:
        """Whether every passage has a teacher's score."""
        return bool(self.positive_scores) and None not in (*self.positive_scores, *self.negative_scores)


def read_mined(path: Path) -> list[MinedRow]:
    """Read a JSON Lines file of mined rows."""
    return [
        MinedRow(
            row["query_id"],
            row["query"],
            row["pos_passages"],
            row["neg_passages"],
            row.get("pos_scores", ()),
            row.get("neg_scores", ()),
        )
        for row in json_files.read_json_lines(path)
    ]


def read_negatives(path: Path) -> set[tuple[str, int]]:
    """The (query id, passage number) of every negative in a file of mined rows."""
    return {(row["query_id"], passage) for row in json_files.read_json_lines(path) for passage in row["neg_passages"]}


def sampled(mined: list[MinedQuery]) -> list[MinedQuery]:
    """Up to SAMPLED_ROWS queries at regular intervals, for `sample_text`."""
    return mined[:: max(1, len(mined) // SAMPLED_ROWS)][:SAMPLED_ROWS]


def sample_text(rows: Iterable[dict[str, Any]]) -> str:
    """Mined rows as Markdown for people to read: each query's positives and its highest-scoring negatives."""
    parts = [
        "# A sample of the mined rows",
        "`score` is the searching model's, `rank` its document's.",
    ]
    for row in rows:
        parts.append(f"## {_shown(row['query'])}")
        lines = ["| | document | score | rank | text |", "| --- | --- | --- | --- | --- |"]
        positives = zip(row["pos_ids"], row["pos_mining_scores"], row["pos"], strict=True)
        lines += [f"| positive | {_shown(i)} | {score:.3f} | | {_shown(text)} |" for i, score, text in positives]
        names = ("neg_mining_scores", "neg_kinds", "neg_ids", "neg_ranks", "neg")
        negatives = sorted(zip(*(row[name] for name in names), strict=True), key=lambda negative: -negative[0])
        lines += [
            f"| {kind} | {_shown(i)} | {score:.3f} | {rank or ''} | {_shown(text)} |"
            for score, kind, i, rank, text in negatives[:SHOWN_NEGATIVES]
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _shown(text: str) -> str:
    """The text on one line of Markdown, truncated: its own HTML and Markdown are shown as they stand, not obeyed."""
    line = one_line(text)
    line = line[:SHOWN_CHARACTERS] + ("…" if len(line) > SHOWN_CHARACTERS else "")
    return escape(re.sub(r"([\\`*_\[\]|])", r"\\\1", line), quote=False)
