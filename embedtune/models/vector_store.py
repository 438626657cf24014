"""The vector store: the embeddings of a collection on disk, written by `encode` and read by search.

    <store>/store.json            kind, dimension, the shards of each part and their hashes, and what made them
    <store>/passages.npy          (p, d) float16, in the order of the passages
    <store>/queries-<split>.npy   (q, d) float16, in the order of the split's file

`kind` is dense: one vector a text. Other kinds (sparse, several vectors a text) and parts of several shards have their
place in store.json; what reads dense vectors refuses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.core import arrays, json_files
from embedtune.core.errors import EmbedTuneError
from embedtune.core.hashes import content_hash

DENSE = "dense"
STORE, PASSAGES = "store.json", "passages"


@dataclass(frozen=True)
class VectorStore:
    """An open store of dense vectors; `shards` maps a part (passages, queries-<split>) to its files."""

    directory: Path
    dimension: int
    shards: Mapping[str, list[str]]

    @property
    def passages(self) -> NDArray[np.float16]:
        """The vectors (p, d) of all passages, memory-mapped."""
        return self._part(PASSAGES)

    def queries(self, split: str) -> NDArray[np.float16]:
        """The vectors (q, d) of a split's queries, memory-mapped. Raises EmbedTuneError if there are none."""
        return self._part(query_part(split))

    def _part(self, part: str) -> NDArray[np.float16]:
        files = self.shards.get(part, [])
        if len(files) != 1:
            raise EmbedTuneError(f"{self.directory / STORE}: expected one shard of {part}, found {len(files)}")
        return open_array(self.directory / files[0])


def open_store(directory: Path) -> VectorStore:
    """Open the store of dense vectors in a directory. Raises EmbedTuneError if it is missing or of another kind."""
    meta = json_files.read_json(directory / STORE)
    if meta["kind"] != DENSE:
        raise EmbedTuneError(f"{directory / STORE}: expected a store of kind {DENSE}, got {meta['kind']}")
    return VectorStore(directory, meta["dimension"], meta["shards"])


def write_description(directory: Path, dimension: int, parts: Iterable[str], made_by: Mapping[str, Any]) -> None:
    """Write store.json for a directory of dense vectors with one array a part.

    `made_by` says how: the model (path and hash), query_max_len and the precision.
    """
    shards = {part: [f"{part}.npy"] for part in parts}
    hashes = {file: content_hash(directory / file) for files in shards.values() for file in files}
    description = {"kind": DENSE, "dimension": dimension, "shards": shards, "hashes": hashes, **made_by}
    json_files.write_json(directory / STORE, description)


def query_part(split: str) -> str:
    """The part of a store that holds the vectors of a split's queries."""
    return f"queries-{split}"


def create_array(path: Path, rows: int, dimension: int) -> NDArray[np.float16]:
    """Create a memory-mapped float16 array (rows, dimension) on disk. Raises OSError when the disk is full."""
    out: NDArray[np.float16] = arrays.create_array(path, np.float16, (rows, dimension))
    return out


def open_array(path: Path, writable: bool = False) -> NDArray[np.float16]:
    """Open an array (n, d) that `create_array` made, memory-mapped; read-only unless `writable`."""
    vectors: NDArray[np.float16] = np.load(path, mmap_mode="r+" if writable else "r")
    return vectors
