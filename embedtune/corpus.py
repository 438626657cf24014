"""The converted data set, in BEIR's layout: corpus.jsonl, queries/<split>.jsonl, qrels/<split>.tsv.

A judgment above 0 makes a document relevant to a query; 0 marks one that the data set names as a negative.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from embedtune import files
from embedtune.errors import EmbedTuneError

SPLITS = ("train", "dev", "test")
PROBE = "probe"  # the only split of a general data set (see probe.py)
QRELS_HEADER = "query-id\tcorpus-id\tscore"


@dataclass(frozen=True)
class Document:
    """One line of corpus.jsonl: `offset` is its first byte in the file, `size` its length in bytes.

    The text begins with the title, if there is one.
    """

    id: str
    text: str
    offset: int
    size: int
    title: str = ""


@dataclass
class Query:
    """A question. `judgments` is document id -> relevance (0: a named negative), in the data set's order.

    `answers` says where known answers stand: [{"docid", "start", "end"}], characters of the document's text.
    `scores` is document id -> a teacher's score, for those that the data set has.
    """

    id: str
    text: str
    judgments: dict[str, int] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)

    def relevant(self) -> list[str]:
        """Ids of the relevant documents."""
        return [document for document, relevance in self.judgments.items() if relevance > 0]

    def negatives(self) -> list[str]:
        """Ids of the documents that the data set names as negatives."""
        return [document for document, relevance in self.judgments.items() if relevance <= 0]


def read_corpus(path: Path) -> Iterator[Document]:
    """The documents of corpus.jsonl, in order. Raises EmbedTuneError at a broken line or a missing file."""
    offset = 0
    for line_number, line in files.read_lines(path):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise EmbedTuneError(f"{path}:{line_number}: {files.json_problem(line, error)}") from error
        yield Document(row["_id"], row["text"], offset, len(line), row.get("title", ""))
        offset += len(line)


def write_queries(directory: Path, split: str, queries: list[Query]) -> None:
    """Write `directory/<split>.jsonl`, rows {_id, text, metadata: {answers, scores}}, what is empty left out."""

    def row(query: Query) -> dict[str, Any]:
        metadata = {name: value for name, value in (("answers", query.answers), ("scores", query.scores)) if value}
        return {"_id": query.id, "text": query.text, **({"metadata": metadata} if metadata else {})}

    files.write_json_lines(directory / f"{split}.jsonl", map(row, queries))


def write_qrels(directory: Path, split: str, queries: list[Query]) -> None:
    """Write `directory/<split>.tsv`, columns query-id, corpus-id, score."""
    with files.whole_file(directory / f"{split}.tsv") as partial, partial.open("w", encoding="utf-8") as file:
        file.write(QRELS_HEADER + "\n")
        for query in queries:
            file.writelines(f"{query.id}\t{document}\t{score}\n" for document, score in query.judgments.items())


def read_queries(queries: Path, qrels: Path, split: str) -> list[Query]:
    """The questions of a split with their judgments, from the directories `queries` and `qrels`, in file order."""
    by_id = {
        row["_id"]: Query(row["_id"], row["text"], **row.get("metadata", {}))
        for row in files.read_json_lines(queries / f"{split}.jsonl")
    }
    for line_number, line in files.read_lines(qrels / f"{split}.tsv"):
        if line_number > 1:
            query, document, score = line.decode().rstrip("\n").split("\t")
            by_id[query].judgments[document] = int(score)
    return list(by_id.values())
