"""BM25's inverted index on disk, built within bounded memory: sorted blocks are spilled and then merged.

This is single-pass in-memory indexing (SPIMI; Manning, Raghavan and Schütze 2008, section 4.3). A term is known by the
64-bit hash of its text: among ten million terms, two share one with a probability of 3e-6. Scores are those of bm25s's
Lucene variant, and they are computed while indexing (Lù 2024): a search only adds them up.

An index is a directory in bm25s's own layout, which its `load` maps into memory: scores (n,) float32 and document
numbers (n,) int32, by term and then by document, and where each term's begin and end, (v + 1,) int64. In place of
bm25s's dictionary, vocabulary.npy (v,) uint64 holds the terms' hashes, ascending.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtune.core.arrays import create_array
from embedtune.core.json_files import write_json
from embedtune.retrieval.terms import Terms

VOCABULARY = "vocabulary.npy"
BLOCK_POSTINGS = 2_000_000  # in memory at a time, while indexing and while merging: some 200 MB


def write_postings(directory: Path, texts: Iterable[str], terms: Terms, k1: float, b: float) -> None:
    """Index the texts in the existing directory `directory`. `terms` cuts them into terms."""
    lengths = array("I")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".blocks-") as scratch:
        with _Spill(Path(scratch)) as spill:
            for block in _blocks(texts, terms, lengths):
                spill.add(block)
        _merge(directory, spill.blocks(), np.frombuffer(lengths, dtype=np.uint32), k1, b)
    settings = {"method": "lucene", "k1": k1, "b": b, "backend": "numpy", "num_docs": len(lengths)}
    write_json(directory / "params.index.json", settings)


def hashes(terms: list[str]) -> NDArray[np.uint64]:
    """The hash of each term, uint64 (pandas's SipHash with its fixed key)."""
    found: NDArray[np.uint64] = pd.util.hash_array(np.array(terms, dtype=object), categorize=False)
    return found


@dataclass
class _Block:
    """Postings in the order in which the texts came: term (its number in `terms`), document and count of each."""

    terms: dict[str, int] = field(default_factory=dict)
    term: array[int] = field(default_factory=lambda: array("I"))
    document: array[int] = field(default_factory=lambda: array("I"))
    count: array[int] = field(default_factory=lambda: array("I"))

    def add(self, document: int, counts: Counter[str]) -> None:
        known = self.terms
        self.term.extend([known.setdefault(term, len(known)) for term in counts])
        self.count.extend(counts.values())
        self.document.extend([document] * len(counts))


@dataclass(frozen=True)
class _Spilled:
    """A block on disk, sorted by hash and then by document. `counts` says how many postings each hash has."""

    hashes: NDArray[np.uint64]
    counts: NDArray[np.uint32]
    documents: NDArray[np.uint32]
    repeats: NDArray[np.uint32]


class _Spill(contextlib.ExitStack):
    """Blocks one after another in four files of `directory`, however many they are."""

    PARTS: ClassVar = {"hashes": np.uint64, "counts": np.uint32, "documents": np.uint32, "repeats": np.uint32}

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory, self.sizes = directory, [(0, 0)]  # hashes and postings so far, after each block
        self.files = {name: self.enter_context((directory / name).open("wb")) for name in self.PARTS}

    def add(self, block: _Block) -> None:
        """Sort a block and write it."""
        hashed, term = hashes(list(block.terms)), np.frombuffer(block.term, dtype=np.uint32)
        by_hash = np.argsort(hashed)
        place = np.empty(len(hashed), dtype=np.uint32)
        place[by_hash] = np.arange(len(hashed), dtype=np.uint32)
        order = np.argsort(place[term], kind="stable")
        hashed[by_hash].tofile(self.files["hashes"])
        np.bincount(term, minlength=len(hashed))[by_hash].astype(np.uint32).tofile(self.files["counts"])
        np.frombuffer(block.document, dtype=np.uint32)[order].tofile(self.files["documents"])
        np.frombuffer(block.count, dtype=np.uint32)[order].tofile(self.files["repeats"])
        terms, postings = self.sizes[-1]
        self.sizes.append((terms + len(hashed), postings + len(term)))

    def blocks(self) -> list[_Spilled]:
        """The blocks, memory-mapped. The files have to be closed."""
        if not self.sizes[-1][1]:  # an empty file cannot be mapped
            return []
        parts = {name: np.memmap(self.directory / name, dtype, "r") for name, dtype in self.PARTS.items()}
        cuts = [(slice(a, c), slice(b, d)) for (a, b), (c, d) in itertools.pairwise(self.sizes)]
        return [
            _Spilled(parts["hashes"][terms], parts["counts"][terms], parts["documents"][own], parts["repeats"][own])
            for terms, own in cuts
        ]


def _blocks(texts: Iterable[str], terms: Terms, lengths: array[int]) -> Iterator[_Block]:
    """Yield blocks of BLOCK_POSTINGS and append the texts' lengths in terms to `lengths`, 1 for a text without any."""
    block = _Block()
    for document, text in enumerate(texts):
        found = terms(text)
        block.add(document, Counter(found))
        lengths.append(max(1, len(found)))
        if len(block.term) >= BLOCK_POSTINGS:
            yield block
            block = _Block()
    yield block


def _merge(directory: Path, blocks: list[_Spilled], lengths: NDArray[np.uint32], k1: float, b: float) -> None:
    """Write the index's arrays, one range of hashes after another; hashes are uniform, so ranges are of like size."""
    postings = sum(len(block.documents) for block in blocks)
    normed = k1 * (1 - b + b * lengths / lengths.mean()) if len(lengths) else np.zeros(0)
    indices = create_array(directory / "indices.csc.index.npy", np.int32, (postings,))
    scores = create_array(directory / "data.csc.index.npy", np.float32, (postings,))
    vocabulary, frequencies, written = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], 0
    for hashed, documents, repeats in _ranges(blocks, 1 + postings // BLOCK_POSTINGS):
        order = np.argsort(hashed, kind="stable")
        documents, repeats = documents[order], repeats[order].astype(np.float32)
        terms, having = np.unique(hashed[order], return_counts=True)
        idf = np.log(1 + (len(lengths) - having + 0.5) / (having + 0.5)).astype(np.float32)
        part = slice(written, written := written + len(documents))
        indices[part] = documents
        scores[part] = np.repeat(idf, having) * (repeats / (normed[documents] + repeats))
        vocabulary.append(terms)
        frequencies.append(having)
    np.save(directory / VOCABULARY, np.concatenate(vocabulary))
    np.save(directory / "indptr.csc.index.npy", _ends(np.concatenate(frequencies)))


def _ranges(
    blocks: list[_Spilled], count: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32]]]:
    """Yield the postings (hash, document, occurrences) of `count` ranges of hashes, ascending."""
    bounds = np.array([2**64 * i // count for i in range(count)], dtype=np.uint64)
    cuts = [np.append(np.searchsorted(block.hashes, bounds), len(block.hashes)) for block in blocks]
    ends = [_ends(block.counts)[cut] for block, cut in zip(blocks, cuts, strict=True)]
    for number in range(count):
        hashed, documents, repeats = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)], [np.zeros(0, np.uint32)]
        for block, cut, end in zip(blocks, cuts, ends, strict=True):
            terms, own = slice(*cut[number : number + 2]), slice(*end[number : number + 2])
            hashed.append(np.repeat(block.hashes[terms], block.counts[terms]))
            documents.append(block.documents[own])
            repeats.append(block.repeats[own])
        yield np.concatenate(hashed), np.concatenate(documents), np.concatenate(repeats)


def _ends(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
