"""The converted data set in BEIR's layout: corpus.jsonl, queries/<split>.jsonl, qrels/<split>.tsv.

A judgment above 0 means that the document is relevant to the query. 0 marks a judged negative of the data set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from embedtune.core import files, json_files
from embedtune.core.errors import EmbedTuneError

SPLITS = ("train", "dev", "test")
GENERAL = "general"  # the only split of a general data set (see evaluation/general_data.py)
QRELS_HEADER = "query-id\tcorpus-id\tscore"


@dataclass(frozen=True)
class Document:
    """A document, read from one line of corpus.jsonl. Its `text` begins with its `title`, if it has one.

    `offset` is the position of the line in the file, `size` its length, both in bytes.
    """

    id: str
    text: str
    offset: int
    size: int
    title: str = ""


@dataclass
class Query:
    """A query with its relevance judgments.

    `judgments` maps document ids to relevance in the data set's order; 0 is a judged negative. `answers` are the known
    answers as character ranges of a document's text: [{"docid", "start", "end"}]. `scores` maps document ids to a
    teacher's scores, where the data set has them. `ignored` are the ids of documents that are left out of the query's
    rankings and are no negatives for it.
    """

    id: str
    text: str
    judgments: dict[str, int] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def relevant(self) -> list[str]:
        """The ids of the relevant documents, those with a judgment above 0."""
        return [document for document, relevance in self.judgments.items() if relevance > 0]

    def negatives(self) -> list[str]:
        """The ids of the judged negatives, those with a judgment of 0 or below."""
        return [document for document, relevance in self.judgments.items() if relevance <= 0]


def read_corpus(path: Path) -> Iterator[Document]:
    """The documents of corpus.jsonl in order. Raises EmbedTuneError for a missing file or a line that is not JSON."""
    offset = 0
    for line_number, line in json_files.read_lines(path):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise EmbedTuneError(f"{path}:{line_number}: {json_files.json_problem(line, error)}") from error
        yield Document(row["_id"], row["text"], offset, len(line), row.get("title", ""))
        offset += len(line)


def write_queries(directory: Path, split: str, queries: list[Query]) -> None:
    """Write `directory/<split>.jsonl`: {_id, text, metadata: {answers, scores, ignored}}, less what is empty."""

    def row(query: Query) -> dict[str, Any]:
        known = {"answers": query.answers, "scores": query.scores, "ignored": query.ignored}
        metadata = {name: value for name, value in known.items() if value}
        return {"_id": query.id, "text": query.text, **({"metadata": metadata} if metadata else {})}

    json_files.write_json_lines(directory / f"{split}.jsonl", map(row, queries))


def write_qrels(directory: Path, split: str, queries: list[Query]) -> None:
    """Write `directory/<split>.tsv` with the columns query-id, corpus-id, score."""
    with files.atomic_file(directory / f"{split}.tsv") as partial, partial.open("w", encoding="utf-8") as file:
        file.write(QRELS_HEADER + "\n")
        for query in queries:
            file.writelines(f"{query.id}\t{document}\t{score}\n" for document, score in query.judgments.items())


def read_queries(queries: Path, qrels: Path, split: str) -> list[Query]:
    """The queries of a split with their judgments, in file order; `queries` and `qrels` are directories.

    Raises EmbedTuneError when a file is missing or a line of the queries is not JSON.
    """
    by_id = {
        row["_id"]: Query(row["_id"], row["text"], **row.get("metadata", {}))
        for row in json_files.read_json_lines(queries / f"{split}.jsonl")
    }
    for line_number, line in json_files.read_lines(qrels / f"{split}.tsv"):
        if line_number > 1:
            query, document, score = line.decode().rstrip("\n").split("\t")
            by_id[query].judgments[document] = int(score)
    return list(by_id.values())


def read_query_texts(queries: Path, split: str) -> list[str]:
    """The texts of a split's queries, in file order; `queries` is a directory."""
    return [row["text"] for row in json_files.read_json_lines(queries / f"{split}.jsonl")]
