"""Convert a data set of any layout to BEIR's, in one pass over its corpus and one over its questions.

Documents stream from the source to corpus.jsonl; what stays in memory is an id and a 16-byte fingerprint for each
document, and the questions. A document that a row brings along and the corpus lacks is added to it and counted.
"""

from __future__ import annotations

import hashlib
import statistics
from array import array
from dataclasses import dataclass, field
from typing import IO, Any

from embedtune import files
from embedtune.corpus import SPLITS, Query
from embedtune.errors import EmbedTuneError
from embedtune.layouts.rows import BadRows, Layout, Passage, Row
from embedtune.progress import bar
from embedtune.seeds import generator


@dataclass
class CorpusWriter:
    """Writes documents to corpus.jsonl, each id once, and remembers what it wrote."""

    file: IO[bytes]
    fingerprints: dict[str, bytes] = field(default_factory=dict)
    lengths: array[int] = field(default_factory=lambda: array("L"))
    added: int = 0
    differing: int = 0

    def write(self, document_id: str, text: str, title: str = "") -> None:
        """Append a document whose id is new; its text begins with its title."""
        self.fingerprints[document_id] = _fingerprint(text)
        self.lengths.append(len(text))
        self.file.write(files.json_line({"_id": document_id, **({"title": title} if title else {}), "text": text}))

    def resolve(self, passage: Passage) -> str | None:
        """The id of the document that a row names, written first if the corpus lacks it; None if it has no text."""
        if passage.id is None:
            assert passage.text is not None, "a passage has an id or a text"
            document_id = "doc-" + _fingerprint(passage.text).hex()
        else:
            document_id = passage.id
        if document_id not in self.fingerprints:
            if passage.text is None:
                return None
            self.write(document_id, passage.text)
            self.added += 1
        elif passage.text is not None and _fingerprint(passage.text) != self.fingerprints[document_id]:
            self.differing += 1
        return document_id


def _fingerprint(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def convert(layout: Layout, corpus: CorpusWriter, bad_rows: BadRows) -> tuple[dict[str, list[Query]], dict[str, Any]]:
    """Write the corpus and return (split -> questions, counts).

    Rows of one split that ask the same question without an id are merged into one question. Raises EmbedTuneError
    for rows that cannot be used, unless `bad_rows` sets them aside, and where no question or document is left.
    """
    for row in bar(layout.corpus(), unit=" documents", desc="convert"):
        if row.id in corpus.fingerprints:
            bad_rows.refuse(row.where, f"id {row.id!r} stands twice in the corpus; ids must be unique", row.raw)
        else:
            corpus.write(row.id, row.text, row.title)
    merged = 0
    questions: dict[str, list[Query]] = {}
    for split in (split for split in SPLITS if split in layout.splits):
        by_id: dict[str, Query] = {}
        for question in bar(layout.splits[split](), unit=" questions", desc=f"convert {split}"):
            merged += _take(question, by_id, corpus, bad_rows)
        questions[split] = list(by_id.values())
    bad_rows.raise_if_fatal()
    empty = [split for split, queries in questions.items() if not queries]
    if empty:
        raise EmbedTuneError(
            f"the data set has no usable question in its {' and '.join(empty)} split\n{bad_rows.text()}".rstrip()
        )
    counts = {
        "documents": len(corpus.fingerprints),
        "documents_added": corpus.added,
        "documents_differing": corpus.differing,
        "document_characters_mean": statistics.fmean(corpus.lengths),
        "document_characters_median": statistics.median(corpus.lengths),
        "document_characters_max": max(corpus.lengths),
        "rows_merged": merged,
        "rows_skipped": bad_rows.count,
    }
    return questions, counts


def _take(row: Row, by_id: dict[str, Query], corpus: CorpusWriter, bad_rows: BadRows) -> bool:
    """Add the row's question to `by_id`; True if it was merged into one that is there."""
    query_id = row.id or "q-" + _fingerprint(row.query).hex()
    if row.id is not None and row.id in by_id:
        bad_rows.refuse(row.where, f"query id {row.id!r} stands twice in this split; ids must be unique", row.raw)
        return False
    judgments: dict[str, int] = {}
    scores: dict[str, float] = {}
    for passage in row.passages:
        document_id = corpus.resolve(passage)
        if document_id is None:
            reason = f"names the document {passage.id!r}, which the corpus lacks"
            if passage.where:  # a judgment on a line of its own: the question's others stand
                bad_rows.refuse(passage.where, reason, passage.raw)
                continue
            bad_rows.refuse(row.where, reason, row.raw)
            return False
        judgments[document_id] = max(judgments.get(document_id, 0), passage.relevance)
        if passage.score is not None:
            scores[document_id] = passage.score
    if not any(relevance > 0 for relevance in judgments.values()):
        bad_rows.refuse(row.where, "has no relevant document; give at least one", row.raw)
        return False
    merged = query_id in by_id
    query = by_id.setdefault(query_id, Query(query_id, row.query, answers=row.answers))
    for document_id, relevance in judgments.items():
        query.judgments[document_id] = max(query.judgments.get(document_id, 0), relevance)
    query.scores.update(scores)
    return merged


def complete_splits(
    questions: dict[str, list[Query]], shares: dict[str, float], dev_queries: int, seed: int
) -> tuple[dict[str, list[Query]], dict[str, Any]]:
    """Carve the splits that are missing from train, and top up a dev split of fewer than `dev_queries` questions.

    A missing split takes its share of train's questions (at least one), drawn by `seed`; topping up takes at most
    dev's share. Returns (split -> questions, counts). Raises EmbedTuneError when train is left without a question.
    """
    train = questions["train"]
    order = generator(seed, "splits").permutation(len(train)).tolist()
    moved: dict[str, list[int]] = {}
    for split in ("test", "dev"):
        if split not in questions:
            moved[split] = [order.pop() for _ in range(min(len(order), max(1, round(shares[split] * len(train)))))]
    if "dev" in questions:
        room = int(shares["dev"] * len(train))
        lacking = max(0, dev_queries - len(questions["dev"]))
        asked = {(query.id, query.text) for query in questions["dev"]}  # rows without ids: equal questions, equal ids
        moved["dev"] = [i for i in order if (train[i].id, train[i].text) not in asked][: min(room, lacking)]
        taken = set(moved["dev"])
        order = [i for i in order if i not in taken]
    if not order:
        raise EmbedTuneError(
            f"the train split has {len(train)} questions, too few to carve {' and '.join(sorted(moved))} from; "
            "add questions, or give the data set splits of its own"
        )
    splits = {"train": [train[i] for i in sorted(order)]}
    for split in ("dev", "test"):
        splits[split] = [*questions.get(split, []), *(train[i] for i in sorted(moved.get(split, [])))]
        _refuse_equal_ids(split, splits[split])
    counts = {f"{split}_queries": len(splits[split]) for split in SPLITS}
    counts |= {f"{split}_queries_from_train": len(moved.get(split, [])) for split in ("dev", "test")}
    return splits, counts


def _refuse_equal_ids(split: str, queries: list[Query]) -> None:
    if len({query.id for query in queries}) < len(queries):
        raise EmbedTuneError(
            f"train and {split} use the same query ids, so that train's cannot be moved to {split}; "
            f"rename them, or (for dev) write `dataset.dev_queries: 0`"
        )


def shuffle_questions(queries: list[Query], seed: int) -> None:
    """Give every question another question's judgments, in place: a control, in which there is nothing to learn."""
    order = generator(seed, "shuffle").permutation(len(queries)).tolist()
    judgments = [(queries[i].judgments, queries[i].answers, queries[i].scores) for i in order]
    for i, moved in zip(order, judgments[1:] + judgments[:1], strict=True):
        queries[i].judgments, queries[i].answers, queries[i].scores = moved
