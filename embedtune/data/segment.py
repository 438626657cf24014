"""Cut documents into passages: tokenise each document, cut at word boundaries, write the files of passages.py.

A second thread tokenises the next batch while the main thread cuts and writes the current one. (The tokenizer's own
threads use every core, without Python's global interpreter lock.) Memory holds a few batches, whatever the size of the
corpus. If only the head of each document is kept, only as much text is tokenised as the head can need.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Encoding, Tokenizer

from embedtune.core import json_files
from embedtune.core.errors import ParameterError
from embedtune.core.progress import bar
from embedtune.data.corpus import Document, read_corpus
from embedtune.data.cutting import Cut, Shape, cut_documents
from embedtune.data.passage_tokens import words_stand_alone
from embedtune.data.passages import DOCUMENT_SCHEMA, PASSAGE_SCHEMA
from embedtune.data.windows import characters

BATCH_CHARACTERS = 1_000_000  # per batch; an encoding takes some 100 bytes a token: 100 MB a batch, for 2 or 3 batches
HEAD_CHARACTERS_PER_TOKEN = 6  # enough for nearly every head; a text that needs more is tokenised in full
SPARE_CHARACTERS = 120  # WordPiece maps a word of over 100 characters to [UNK], but not a part cut from it
HEAD_SPARE_TOKENS = 32  # tokens near the end of a cut text may differ from those of the full text

COUNTS = (
    *("documents", "passages", "tokens", "documents_without_tokens", "documents_with_title"),
    *("characters", "characters_left_out", "documents_left_out_in_part"),  # after the last passage that is kept
    *("room", "room_unused"),  # tokens that passages may have, and have not, after which the document goes on
    *("passages_joined_to_instruction", "tokens_dropped"),
)

T = TypeVar("T")


def write_passages(
    corpus: Path,
    tokenizer: Tokenizer,
    target: Path,
    *,
    max_tokens: int,
    frame_tokens: int,
    overlap_tokens: int,
    max_passages: int | None,
    boundaries: str = "word",
    title_tokens: int = 0,
    instruction: str = "",
) -> dict[str, Any]:
    """Cut every document of `corpus` (corpus.jsonl) into passages and write them to the directory `target`.

    A passage has at most `max_tokens` tokens, of which `frame_tokens` are reserved for special tokens and instruction.
    At most `max_passages` passages are kept per document, from its start (None: all). `boundaries` is word, or sentence
    to prefer the ends of paragraphs and sentences. Each passage of a document but the first is prefixed with up to
    `title_tokens` tokens of its title, which count towards `max_tokens`. A passage's tokens are those that it has
    behind `instruction`. Returns the content of meta.json: counts, of what the passages leave out too. Raises
    ParameterError when the tokens left for text are not more than twice `overlap_tokens`.
    """
    size = max_tokens - frame_tokens
    if size - title_tokens <= 2 * overlap_tokens:
        raise ParameterError(
            "max_tokens",
            f"{max_tokens} leaves {size - title_tokens} tokens for text beside special tokens, `passage_instruction` "
            f"({frame_tokens}) and `title_tokens` ({title_tokens}); expected more than twice `overlap_tokens` "
            f"({overlap_tokens})",
        )
    head_tokens = None if max_passages is None else size + (max_passages - 1) * (size - overlap_tokens)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32
    counts = dict.fromkeys(COUNTS, 0)
    alone = words_stand_alone(tokenizer, instruction)
    shape = Shape(size, overlap_tokens, max_passages, boundaries, title_tokens, instruction, alone)
    with (
        (target / "token_ids.bin").open("wb") as token_file,
        pq.ParquetWriter(target / "passages.parquet", PASSAGE_SCHEMA) as passage_table,
        pq.ParquetWriter(target / "documents.parquet", DOCUMENT_SCHEMA) as document_table,
        bar(total=corpus.stat().st_size, unit="B", unit_scale=True, desc="segment") as progress,
    ):
        for batch, encodings in _encoded(read_corpus(corpus), tokenizer, head_tokens):
            rows: dict[str, list[int]] = {name: [] for name in PASSAGE_SCHEMA.names}
            cuts = cut_documents(batch, encodings, tokenizer, shape)
            first_passages = []
            for document, cut in zip(batch, cuts, strict=True):
                first_passages.append(counts["passages"] + len(rows["document"]))
                _add_rows(rows, counts["documents"], document.text, cut, counts["tokens"])
                token_file.write(np.array(cut.ids, dtype=dtype).tobytes())
                _count(counts, document.text, cut)
            titles = [cut.title for cut in cuts]
            passage_table.write_table(pa.table(rows, schema=PASSAGE_SCHEMA))
            document_table.write_table(
                pa.table(
                    [[d.id for d in batch], [d.offset for d in batch], first_passages, titles],
                    schema=DOCUMENT_SCHEMA,
                )
            )
            counts["passages"] += len(rows["document"])
            del encodings, cuts  # so that `_prefetch` can free them
            progress.update(sum(document.size for document in batch))
    meta = {"dtype": np.dtype(dtype).name, "max_tokens": max_tokens, **counts}
    json_files.write_json(target / "meta.json", meta)
    return meta


def _release_memory() -> None:
    """Return freed memory to the operating system (glibc only).

    The tokenizer frees millions of small blocks per batch. Without this call glibc's heap fragments, and after 100
    million characters tokenisation takes 1.5 times as long.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _count(counts: dict[str, int], text: str, cut: Cut) -> None:
    left_out = len(text[cut.characters[-1][1] :].strip()) if cut.ids else 0
    counts["documents"] += 1
    counts["tokens"] += len(cut.ids)
    counts["documents_without_tokens"] += not cut.ids
    counts["documents_with_title"] += cut.title > 0
    counts["characters"] += len(text)
    counts["characters_left_out"] += left_out
    counts["documents_left_out_in_part"] += left_out > 0
    counts["room"] += cut.room
    counts["room_unused"] += cut.unused
    counts["passages_joined_to_instruction"] += cut.joined
    counts["tokens_dropped"] += cut.dropped


def _add_rows(rows: dict[str, list[int]], document: int, text: str, cut: Cut, token_start: int) -> None:
    for (start, end), (char_start, char_end) in zip(cut.tokens, cut.characters, strict=True):
        rows["document"].append(document)
        rows["token_start"].append(token_start + start)
        rows["token_count"].append(end - start)
        rows["char_start"].append(char_start)
        rows["char_end"].append(char_end)
        rows["text_hash"].append(text_hash(text[char_start:char_end]))


def text_hash(text: str) -> int:
    """A 64-bit BLAKE2b hash that identifies passages of equal text. Leading and trailing white space is ignored."""
    return int.from_bytes(hashlib.blake2b(text.strip().encode(), digest_size=8).digest(), "little")


def _encoded(
    documents: Iterable[Document], tokenizer: Tokenizer, head_tokens: int | None
) -> Iterator[tuple[list[Document], list[Encoding]]]:
    def encode(batch: list[Document]) -> list[Encoding]:
        if head_tokens is None:
            return _encode([document.text for document in batch], tokenizer)
        return _encode_heads([document.text for document in batch], tokenizer, head_tokens)

    return _prefetch(encode, _batches(documents, head_tokens))


def _encode(texts: list[str], tokenizer: Tokenizer) -> list[Encoding]:
    return tokenizer.encode_batch(texts, add_special_tokens=False)


def _encode_heads(texts: list[str], tokenizer: Tokenizer, tokens: int) -> list[Encoding]:
    """Encodings of the heads of the texts. Their first `tokens` tokens are those of the full text."""
    enough = tokens + HEAD_SPARE_TOKENS
    cut = enough * HEAD_CHARACTERS_PER_TOKEN
    encodings = _encode([text[:cut] for text in texts], tokenizer)

    def may_differ(encoding: Encoding) -> bool:
        return len(encoding) < enough or characters(encoding, tokens - 1)[1] > cut - SPARE_CHARACTERS

    short = [i for i, text in enumerate(texts) if len(text) > cut and may_differ(encodings[i])]
    for i, encoding in zip(short, _encode([texts[i] for i in short], tokenizer), strict=True):
        encodings[i] = encoding
    return encodings


def _batches(documents: Iterable[Document], head_tokens: int | None) -> Iterator[list[Document]]:
    longest = None if head_tokens is None else (head_tokens + HEAD_SPARE_TOKENS) * HEAD_CHARACTERS_PER_TOKEN
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text) if longest is None else min(len(document.text), longest)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _prefetch(work: Callable[[list[T]], Any], batches: Iterator[list[T]]) -> Iterator[tuple[list[T], Any]]:
    """Yield (batch, work(batch)) in order. A thread works on the next batch while the caller uses this one."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        pending = [(batch, worker.submit(work, batch)) for batch in islice(batches, 2)]
        while pending:
            batch, future = pending.pop(0)
            future.exception()  # waits for the result
            pending += [(following, worker.submit(work, following)) for following in islice(batches, 1)]
            yield batch, future.result()
            del batch, future
            _release_memory()
