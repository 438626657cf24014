"""Mined rows: the format that mining writes and training reads, and a sample of them for people to read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from embedtune.core import json_files
from embedtune.core.visible import one_line

if TYPE_CHECKING:
    from embedtune.mining.mine import MinedQuery, MiningData

Mined = TypeVar("Mined")
SAMPLED_ROWS, SHOWN_NEGATIVES, SHOWN_CHARACTERS = 20, 5, 120


def mined_rows(
    pool: MiningData,
    mined: list[MinedQuery],
    texts: dict[int, str],
    numbers: Sequence[int] | None = None,
    taught: Mapping[tuple[int, int], float] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the training rows: FlagEmbedding's fields `query`, `pos` and `neg`, and metadata of each passage.

    `texts` maps passage number -> text. `numbers` are the pool's queries' places among the split's, where the base
    model's vectors stand (None: the pool has them all). `pos_margins` are the margins by which the positives were
    chosen (see positives.py). `pos_mining_scores` and `neg_mining_scores` are inner products by the model that the
    round starts from. `pos_scores` and `neg_scores` are a teacher's scores, as FlagEmbedding's distillation reads them.
    They are those of `taught` ((query, passage) -> score; empty: no row has any) or, where that is None, the data
    set's: present only if it has scores for the query, and null for a passage without one.
    `partly_relevant_ids` are documents with a grade that is not enough for a positive.
    """
    ids, document = pool.passages.document_ids, pool.passages.document
    for row in mined:
        negatives = [negative.passage for negative in row.negatives]
        rounded = [round(float(score), 6) for score in row.scores]
        named = [ids[document[passage]] for passage in row.positives + negatives]
        split = len(row.positives)
        teacher = pool.queries[row.query].scores
        teacher_scores: list[float | None] = [teacher.get(name) for name in named]
        if taught:
            teacher_scores = [round(taught[row.query, passage], 6) for passage in row.positives + negatives]
        partly = pool.queries[row.query].partly_relevant()
        yield {
            **({} if numbers is None else {"query_number": numbers[row.query]}),
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
            **(
                {"pos_scores": teacher_scores[:split], "neg_scores": teacher_scores[split:]}
                if taught or (teacher and taught is None)
                else {}
            ),
            **({"partly_relevant_ids": partly} if partly else {}),
            "neg_kinds": [negative.kind for negative in row.negatives],
            "neg_ranks": [negative.rank for negative in row.negatives],
        }


@dataclass(frozen=True)
class MinedRow:
    """A mined row without its passage texts: passage numbers, and a teacher's score (or None) for each, if any.

    A row of a scored pair has one positive, whatever its relevance `rel` is, and how much it counts, `weight`.
    `query_number` is the query's place in the split, where its vector stands. `partly_relevant` are the ids of
    documents that are neither positives nor negatives. `mining_score` is the inner product of the first positive and
    the query, by the model that the round starts from.
    """

    query_id: str
    query: str
    positives: list[int]
    negatives: list[int]
    positive_scores: Sequence[float | None] = ()
    negative_scores: Sequence[float | None] = ()
    rel: float | None = None
    weight: float = 1.0
    query_number: int | None = None
    partly_relevant: Sequence[str] = ()
    mining_score: float | None = None

    @property
    def has_teacher_scores(self) -> bool:
        """Whether every passage has a teacher's score."""
        return bool(self.positive_scores) and None not in (*self.positive_scores, *self.negative_scores)


@dataclass(frozen=True)
class JudgedPair:
    """A scored pair: a query, a passage (number) of the judged document, how relevant it is, and how much it counts.

    `score` is their inner product by the model that the round starts from.
    """

    query_number: int
    query_id: str
    query: str
    document: str
    passage: int
    rel: float
    weight: float
    score: float


def pair_rows(pairs: Iterable[JudgedPair], texts: dict[int, str]) -> Iterator[dict[str, Any]]:
    """Yield the training rows of scored pairs: those of `mined_rows` with one positive, `rel` and `weight`."""
    for pair in pairs:
        yield {
            "query_number": pair.query_number,
            "query_id": pair.query_id,
            "query": pair.query,
            "pos": [texts[pair.passage]],
            "neg": [],
            "pos_ids": [pair.document],
            "neg_ids": [],
            "pos_passages": [pair.passage],
            "neg_passages": [],
            "pos_mining_scores": [round(pair.score, 6)],
            "rel": pair.rel,
            "weight": pair.weight,
        }


def read_mined(path: Path) -> list[MinedRow]:
    """Read a JSON Lines file of mined rows. Without a query_number, a row is its query's only one, and in order."""
    return [
        MinedRow(
            row["query_id"],
            row["query"],
            row["pos_passages"],
            row["neg_passages"],
            row.get("pos_scores", ()),
            row.get("neg_scores", ()),
            row.get("rel"),
            row.get("weight", 1.0),
            row.get("query_number", number),
            row.get("partly_relevant_ids", ()),
            next(iter(row.get("pos_mining_scores", ())), None),
        )
        for number, row in enumerate(json_files.read_json_lines(path))
    ]


def read_texts_of_rows(path: Path) -> dict[int, str]:
    """Passage number -> text, of every passage in a file of mined rows."""
    return {
        number: text
        for row in json_files.read_json_lines(path)
        for numbers, texts in (("pos_passages", "pos"), ("neg_passages", "neg"))
        for number, text in zip(row[numbers], row[texts], strict=True)
    }


def read_negatives(path: Path) -> set[tuple[str, int]]:
    """The (query id, passage number) of every negative in a file of mined rows."""
    return {(row["query_id"], passage) for row in json_files.read_json_lines(path) for passage in row["neg_passages"]}


def sampled(mined: list[Mined]) -> list[Mined]:
    """Up to SAMPLED_ROWS queries or pairs at regular intervals, to be read."""
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


def pair_sample_text(rows: Iterable[dict[str, Any]]) -> str:
    """Rows of scored pairs as Markdown for people to read."""
    lines = ["| query | document | rel | weight | text |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {_shown(row['query'])} | {_shown(row['pos_ids'][0])} | {row['rel']:g} | {row['weight']:g} | "
        f"{_shown(row['pos'][0])} |"
        for row in rows
    ]
    return "# A sample of the scored pairs\n\n" + "\n".join(lines) + "\n"


def _shown(text: str) -> str:
    """The text on one line of Markdown, truncated: its own HTML and Markdown are shown as they stand, not obeyed."""
    line = one_line(text)
    line = line[:SHOWN_CHARACTERS] + ("…" if len(line) > SHOWN_CHARACTERS else "")
    return escape(re.sub(r"([\\`*_\[\]|])", r"\\\1", line), quote=False)
