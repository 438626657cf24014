"""Convert a data set of any layout to BEIR's, in one pass over its corpus and one over its queries.

Documents stream from the source to corpus.jsonl. Memory holds the queries, and for each document its id, its length and
a 16-byte fingerprint. A document whose text is given by a query's row, but which the corpus lacks, is added to the
corpus and counted.
"""

from __future__ import annotations

import hashlib
import statistics
from array import array
from dataclasses import dataclass, field
from typing import IO, Any

from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError
from embedtune.core.progress import bar
from embedtune.data.corpus import SPLITS, Query
from embedtune.data.layouts.rows import BadRows, Layout, Passage, Row


@dataclass
class CorpusWriter:
    """Writes documents to corpus.jsonl, each id once, and remembers their ids, fingerprints and lengths (characters).

    `added` counts the documents that came from queries' rows. `differing` counts the references to a document by id
    with a text that differs from the written one.
    """

    file: IO[bytes]
    fingerprints: dict[str, bytes] = field(default_factory=dict)
    lengths: array[int] = field(default_factory=lambda: array("L"))
    added: int = 0
    differing: int = 0

    def write(self, document_id: str, text: str, title: str = "") -> None:
        """Append a document, whose id must be new. Its text must begin with its title."""
        self.fingerprints[document_id] = _fingerprint(text)
        self.lengths.append(len(text))
        self.file.write(json_files.json_line({"_id": document_id, **({"title": title} if title else {}), "text": text}))

    def resolve(self, passage: Passage) -> str | None:
        """The id of the document that a row refers to; without an id of its own, the id is a hash of its text.

        A document that the corpus lacks is written first. Returns None if the corpus lacks it and the row has no text.
        """
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
    """Write the corpus and return (split -> queries, counts).

    Rows of one split with the same query text and no ids are merged into one query. Raises EmbedTuneError for invalid
    rows, unless `bad_rows` sets them aside, and when a split has no valid query.
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
    """Add the row's query to `by_id`. Return whether it was merged into a query that was already there."""
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
            if passage.where:  # the judgment has its own line: the query's other judgments stay
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
