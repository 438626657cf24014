"""The passages that `segment` wrote: token ids in one memory-mapped array, and a table with one row per passage.

    token_ids.bin       the token ids of all documents, concatenated, without special tokens; uint16 or uint32
    passages.parquet    document (row of documents.parquet), token_start, token_count, char_start, char_end, text_hash
    documents.parquet   document_id, corpus_offset (byte of its line in corpus.jsonl), first_passage, title_tokens
    meta.json           dtype, max_tokens, and counts of documents, passages and tokens

Passages are numbered from 0 in corpus order. The passages of a document have consecutive numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedtune.core import json_files

PASSAGE_SCHEMA = pa.schema(
    [
        ("document", pa.int32()),
        ("token_start", pa.int64()),
        ("token_count", pa.int32()),
        ("char_start", pa.int32()),
        ("char_end", pa.int32()),
        ("text_hash", pa.uint64()),
    ]
)
DOCUMENT_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("corpus_offset", pa.int64()),
        ("first_passage", pa.int64()),
        ("title_tokens", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Passages:
    """All passages of a corpus.

    The arrays from `token_start` to `document` have one element per passage, those after `document` one per document.
    `first_passage` has one element more: document d has the passages first_passage[d] to first_passage[d + 1] - 1.
    Passages have equal `text_hash` if their texts are equal, apart from leading and trailing white space. Every passage
    of a document but the first is prefixed with the document's first `title_tokens` tokens, its title. `token_count`,
    `char_start` and `char_end` do not include this prefix.
    """

    token_ids: NDArray[np.integer]
    token_start: NDArray[np.int64]
    token_count: NDArray[np.int32]
    char_start: NDArray[np.int32]
    char_end: NDArray[np.int32]
    text_hash: NDArray[np.uint64]
    document: NDArray[np.int32]
    document_ids: list[str]
    corpus_offset: NDArray[np.int64]
    first_passage: NDArray[np.int64]
    title_tokens: NDArray[np.int32]
    max_tokens: int

    def __len__(self) -> int:
        return len(self.document)

    def tokens(self, passage: int) -> NDArray[np.integer]:
        """The token ids of one passage with the title prefix, without special tokens; uint16 or uint32, shape (n,)."""
        content = self.content(passage)
        title, first = self.title_tokens[self.document[passage]], self.first_passage[self.document[passage]]
        if not title or passage == first:
            return content
        return np.concatenate([self.token_ids[self.token_start[first] : self.token_start[first] + title], content])

    def content(self, passage: int) -> NDArray[np.integer]:
        """The token ids of one passage without the title prefix; uint16 or uint32, shape (n,)."""
        start = self.token_start[passage]
        return self.token_ids[start : start + self.token_count[passage]]

    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of every passage, with the title prefix; shape (passages,)."""
        titles = self.title_tokens[self.document].astype(np.int64)
        titles[self.first_passage[:-1]] = 0
        return self.token_count + titles

    def document_tokens(self, document: int) -> NDArray[np.integer]:
        """The token ids of a document from its first to its last passage; shape (n,).

        Overlaps stand there once where passages are ranges of the document's tokens (passage_tokens.py), else twice.
        """
        first, last = self.first_passage[document], self.first_passage[document + 1] - 1
        return self.token_ids[self.token_start[first] : self.token_start[last] + self.token_count[last]]

    def of_document(self, document: int) -> NDArray[np.int64]:
        """The numbers of the document's passages, in order; int64, shape (n,)."""
        return np.arange(self.first_passage[document], self.first_passage[document + 1])


def open_passages(directory: Path) -> Passages:
    """Open the directory that `segment` wrote; token ids are memory-mapped. Raises EmbedTuneError without meta.json."""
    meta = json_files.read_json(directory / "meta.json")
    table = pq.read_table(directory / "passages.parquet")
    documents = pq.read_table(directory / "documents.parquet")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    token_path = directory / "token_ids.bin"
    dtype = np.dtype(meta["dtype"])
    empty = token_path.stat().st_size == 0  # an empty file cannot be mapped
    return Passages(
        token_ids=np.empty(0, dtype) if empty else np.memmap(token_path, dtype=dtype, mode="r"),
        document_ids=documents["document_id"].to_pylist(),
        corpus_offset=documents["corpus_offset"].to_numpy(),
        first_passage=np.append(documents["first_passage"].to_numpy(), len(table)),
        title_tokens=documents["title_tokens"].to_numpy(),
        max_tokens=meta["max_tokens"],
        **columns,
    )


def read_texts(corpus: Path, passages: Passages, numbers: NDArray[np.integer]) -> list[str]:
    """The texts of the passages `numbers`, read from `corpus` (corpus.jsonl) by byte offset.

    A passage with a title prefix begins with the whole title, also where the prefix holds only its first tokens.
    """
    texts = [""] * len(numbers)
    by_document = np.argsort(passages.document[numbers], kind="stable")
    document, row = -1, {"text": ""}
    with corpus.open("rb") as file:
        for i in by_document:
            passage = numbers[i]
            if passages.document[passage] != document:
                document = passages.document[passage]
                file.seek(passages.corpus_offset[document])
                row = orjson.loads(file.readline())
            carried = passages.title_tokens[document] and passage != passages.first_passage[document]
            content = row["text"][passages.char_start[passage] : passages.char_end[passage]]
            texts[i] = f"{row['title']} {content}" if carried else content
    return texts
