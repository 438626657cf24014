"""The passages that `segment` wrote: token ids in one memory-mapped array, one row per passage in a table.

    token_ids.bin       every document's token ids (no special tokens), end to end; uint16 or uint32
    passages.parquet    document (row of documents.parquet), token_start, token_count, char_start, char_end, text_hash
    documents.parquet   document_id, corpus_offset (byte of its line in corpus.jsonl), first_passage, title_tokens
    meta.json           dtype, max_tokens, and what was counted

Passages are numbered from 0 in corpus order; a document's passages follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedtune import files

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
    """All passages of a corpus: token_start to document have one element per passage, what follows one per document.

    `first_passage` has one element more: document d has passages first_passage[d] to first_passage[d + 1] - 1.
    `text_hash` is equal for passages of equal text (white space around it apart). Passages after a document's first
    begin with its first `title_tokens` tokens, its title; token_count, char_start and char_end do not count those.
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
        """Token ids of one passage, its document's title first, without special tokens, shape (n,)."""
        content = self.content(passage)
        title, first = self.title_tokens[self.document[passage]], self.first_passage[self.document[passage]]
        if not title or passage == first:
            return content
        return np.concatenate([self.token_ids[self.token_start[first] : self.token_start[first] + title], content])

    def content(self, passage: int) -> NDArray[np.integer]:
        """Token ids of one passage without a carried title, shape (n,)."""
        start = self.token_start[passage]
        return self.token_ids[start : start + self.token_count[passage]]

    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each passage has as `tokens` gives it, shape (n,)."""
        titles = self.title_tokens[self.document].astype(np.int64)
        titles[self.first_passage[:-1]] = 0
        return self.token_count + titles

    def document_tokens(self, document: int) -> NDArray[np.integer]:
        """Token ids of all of a document's passages, what overlaps once, shape (n,)."""
        first, last = self.first_passage[document], self.first_passage[document + 1] - 1
        return self.token_ids[self.token_start[first] : self.token_start[last] + self.token_count[last]]

    def of_document(self, document: int) -> NDArray[np.int64]:
        """Numbers of the document's passages, in order."""
        return np.arange(self.first_passage[document], self.first_passage[document + 1])


def open_passages(directory: Path) -> Passages:
    """Open the directory that `segment` wrote; token ids stay on disk until read."""
    meta = files.read_json(directory / "meta.json")
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
    """The texts of the passages `numbers`, carried titles first, read from corpus.jsonl by position."""
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
