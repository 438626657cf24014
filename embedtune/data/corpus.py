"""The converted data set in BEIR's layout: corpus.jsonl, queries/<split>.jsonl, qrels/<split>.tsv.

A judgment above 0 means that the document is relevant to the query, to that degree. 0 marks a judged negative of the
data set.
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
    rankings and are no negatives for it. `weights` maps document ids to how much their judgments count in training,
    where that is not 1. `relevant_from` is a number where judgments are grades: documents with a lower one, above 0,
    are not relevant enough to count as found, nor are they negatives. None: every judgment above 0 is a yes.
    """

    id: str
    text: str
    judgments: dict[str, float] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    relevant_from: float | None = None

    def relevant(self) -> list[str]:
        """The ids of the relevant documents, those with a judgment above 0 and not below `relevant_from`."""
        least = self.relevant_from or 0.0
        return [document for document, grade in self.judgments.items() if grade > 0 and grade >= least]

    def partly_relevant(self) -> list[str]:
        """The ids of documents with a judgment above 0, but below `relevant_from`."""
        least = self.relevant_from or 0.0
        return [document for document, grade in self.judgments.items() if 0 < grade < least]

    def graded(self) -> list[str]:
        """The ids of all documents with a judgment above 0, which count in NDCG and are no negatives."""
        return [document for document, grade in self.judgments.items() if grade > 0]

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
    """Write `directory/<split>.jsonl`: {_id, text, metadata}, the metadata being what a query has beside judgments."""

    def row(query: Query) -> dict[str, Any]:
        known = {name: getattr(query, name) for name in ("answers", "scores", "ignored")}
        metadata = {name: value for name, value in known.items() if value}
        return {"_id": query.id, "text": query.text, **({"metadata": metadata} if metadata else {})}

    json_files.write_json_lines(directory / f"{split}.jsonl", map(row, queries))


def write_qrels(directory: Path, split: str, queries: list[Query]) -> None:
    """Write `directory/<split>.tsv` with the columns query-id, corpus-id, score; of grades, weight and relevant-from
    too.

    Whole numbers are written as such, others with all their digits.
    """
    graded = any(query.relevant_from is not None for query in queries)

    def line(query: Query, document: str, score: float) -> str:
        numbers = [score, *([query.weights.get(document, 1.0), query.relevant_from or 0.0] if graded else [])]
        return "\t".join([query.id, document, *(str(int(n)) if n == int(n) else repr(n) for n in numbers)]) + "\n"

    with files.atomic_file(directory / f"{split}.tsv") as partial, partial.open("w", encoding="utf-8") as file:
        file.write(QRELS_HEADER + "\tweight\trelevant-from" * graded + "\n")
        for query in queries:
            file.writelines(line(query, document, score) for document, score in query.judgments.items())


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
            name, document, score, *of_grades = line.decode().rstrip("\n").split("\t")
            query = by_id[name]
            query.judgments[document] = float(score)
            if of_grades:
                weight, query.relevant_from = map(float, of_grades)
                if weight != 1:
                    query.weights[document] = weight
    return list(by_id.values())


def read_query_texts(queries: Path, split: str) -> list[str]:
    """The texts of a split's queries, in file order; `queries` is a directory."""
    return [row["text"] for row in json_files.read_json_lines(queries / f"{split}.jsonl")]
