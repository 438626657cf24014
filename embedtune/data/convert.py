"""Convert a data set of any layout to BEIR's, in one pass over its corpus and one over its queries.

Documents stream from the source to corpus.jsonl. Memory holds the queries, and for each document its id, its length and
a 16-byte fingerprint (two, if it has a title). A document whose text is given by a query's row, but which the corpus
lacks, is added to the corpus and counted.
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

    `fingerprints` are of whole texts, `bodies` of texts without the title, for documents that have one. `added` counts
    the documents that came from queries' rows. `compared` counts the references to a document by id that came with a
    text, `differing` those whose text is not the written one; `first_differing` names the first of them.
    """

    file: IO[bytes]
    fingerprints: dict[str, bytes] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    lengths: array[int] = field(default_factory=lambda: array("L"))
    added: int = 0
    compared: int = 0
    differing: int = 0
    first_differing: str = ""
    _by_text: dict[bytes, str] | None = None  # fingerprint -> id; made when a document is first named by its text

    def write(self, document_id: str, text: str, title: str = "") -> None:
        """Append a document, whose id must be new. Its text must begin with its title."""
        whole, body = _fingerprints(text, title)
        self.fingerprints[document_id] = whole
        if title:
            self.bodies[document_id] = body
        if self._by_text is not None:
            self._by_text.setdefault(whole, document_id)
            self._by_text.setdefault(body, document_id)
        self.lengths.append(len(text))
        self.file.write(json_files.json_line({"_id": document_id, **({"title": title} if title else {}), "text": text}))

    def id_of_text(self, text: str) -> str:
        """The id of the document that has this text, with or without its title; else an id made of the text's hash."""
        if self._by_text is None:
            self._by_text = {}
            for known in (self.fingerprints, self.bodies):
                for document_id, text_hash in known.items():
                    self._by_text.setdefault(text_hash, document_id)
        return self._by_text.get(fingerprint(text)) or "doc-" + _hash(text).hex()

    def id_of(self, passage: Passage) -> str | None:
        """The id of the document that a row refers to; None if the corpus lacks it and the row has no text."""
        if passage.id is None:
            assert passage.text is not None, "a passage has an id or a text"
            return self.id_of_text(passage.text)
        return None if passage.text is None and passage.id not in self.fingerprints else passage.id

    def resolve(self, passage: Passage, where: str) -> str:
        """The id of the document that the row at `where` refers to; one that the corpus lacks is written first."""
        document_id = self.id_of(passage)
        assert document_id is not None, "the row was checked"
        if document_id not in self.fingerprints:
            assert passage.text is not None, "the row was checked"
            self.write(document_id, passage.text, passage.title)
            self.added += 1
        elif passage.id is not None and passage.text is not None:
            self.compared += 1
            known = {self.fingerprints[document_id], self.bodies.get(document_id)}
            if known.isdisjoint(_fingerprints(passage.text, passage.title)):
                self.differing += 1
                self.first_differing = self.first_differing or f"{where}: the text of {document_id!r}"
        return document_id


def fingerprint(text: str) -> bytes:
    """16 bytes that tell texts apart, but for white space around them."""
    return _hash(text.strip())


def _fingerprints(text: str, title: str) -> tuple[bytes, bytes]:
    """The fingerprints of a text that begins with its title, and of the text without it."""
    whole = fingerprint(text)
    return whole, fingerprint(text[len(title) :]) if title else whole


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def convert(layout: Layout, corpus: CorpusWriter, bad_rows: BadRows) -> tuple[dict[str, list[Query]], dict[str, Any]]:
    """Write the corpus and return (split -> queries, counts).

    Rows of one split with the same query text and no ids are merged into one query. Raises EmbedTuneError for invalid
    rows, unless `bad_rows` sets them aside, when a split has no valid query, and when every text that rows give for a
    document of the corpus differs from its text there.
    """
    repeated = 0
    for row in bar(layout.corpus(), unit=" documents", desc="convert"):
        if row.id is None:
            document_id = corpus.id_of_text(row.text)
            if document_id in corpus.fingerprints:
                repeated += 1
            else:
                corpus.write(document_id, row.text, row.title)
        elif row.id in corpus.fingerprints:
            bad_rows.refuse(row.where, f"id {row.id!r} stands twice in the corpus; ids must be unique", row.raw)
        else:
            corpus.write(row.id, row.text, row.title)
    merged = 0
    questions: dict[str, list[Query]] = {}
    for split in (split for split in SPLITS if split in layout.splits):
        by_id: dict[str, Query] = {}
        for question in bar(layout.splits[split](), unit=" questions", desc=f"convert {split}"):
            merged += _take(question, by_id, corpus, bad_rows, needs_relevant=not layout.scored)
        questions[split] = list(by_id.values())
    bad_rows.raise_if_fatal()
    empty = [split for split, queries in questions.items() if not queries]
    if empty:
        raise EmbedTuneError(
            f"the data set has no usable question in its {' and '.join(empty)} split\n{bad_rows.text()}".rstrip()
        )
    if corpus.differing and corpus.differing == corpus.compared:
        raise EmbedTuneError(
            f"{corpus.first_differing} is another in the corpus, and so are all {corpus.differing} texts that rows "
            "give for its documents; give the corpus that these rows belong to, or leave the texts out of the rows"
        )
    counts = {
        "documents": len(corpus.fingerprints),
        "documents_added": corpus.added,
        "documents_repeated": repeated,
        "documents_differing": corpus.differing,
        "document_characters_mean": statistics.fmean(corpus.lengths),
        "document_characters_median": statistics.median(corpus.lengths),
        "document_characters_max": max(corpus.lengths),
        "rows_merged": merged,
        "rows_skipped": bad_rows.count,
        "unread_keys": dict(sorted(bad_rows.unread_keys.items())),
    }
    return questions, counts


def _take(
    row: Row, by_id: dict[str, Query], corpus: CorpusWriter, bad_rows: BadRows, *, needs_relevant: bool = True
) -> bool:
    """Add the row's query to `by_id`. Return whether it was merged into a query that was already there."""
    query_id = row.id or "q-" + _hash(row.query).hex()
    if row.id is not None and row.id in by_id:
        bad_rows.refuse(row.where, f"query id {row.id!r} stands twice in this split; ids must be unique", row.raw)
        return False
    passages = []  # nothing of a row is written before all of it was checked
    for passage in row.passages:
        if corpus.id_of(passage) is not None:
            passages.append(passage)
            continue
        reason = f"names the document {passage.id!r}, which the corpus lacks"
        if passage.where:  # the judgment has its own line: the query's other judgments stay
            bad_rows.refuse(passage.where, reason, passage.raw)
            continue
        bad_rows.refuse(row.where, reason, row.raw)
        return False
    if needs_relevant and not any(passage.relevance > 0 for passage in passages):
        bad_rows.refuse(row.where, "has no relevant document; give at least one", row.raw)
        return False
    judgments: dict[str, float] = {}
    scores: dict[str, float] = {}
    weights: dict[str, float] = {}
    for passage in passages:
        document_id = corpus.resolve(passage, row.where)
        judgments[document_id] = max(judgments.get(document_id, 0), passage.relevance)
        if passage.score is not None:
            scores[document_id] = passage.score
        if passage.weight != 1:
            weights[document_id] = passage.weight
    merged = query_id in by_id
    query = by_id.setdefault(query_id, Query(query_id, row.query, answers=row.answers))
    for document_id, relevance in judgments.items():
        query.judgments[document_id] = max(query.judgments.get(document_id, 0), relevance)
    query.scores.update(scores)
    query.weights.update(weights)
    return merged
