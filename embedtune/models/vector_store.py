"""The embeddings of a collection: `passages.npy` (p, d) and `queries-<split>.npy` (q, d), float16, in file order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PASSAGES = "passages.npy"


def create(directory: Path, name: str, rows: int, dimension: int) -> NDArray[np.float16]:
    """Create a memory-mapped float16 array (rows, dimension) on disk. Raises OSError when the disk is full."""
    out: NDArray[np.float16] = np.lib.format.open_memmap(
        directory / name, mode="w+", dtype=np.float16, shape=(rows, dimension)
    )
    if hasattr(os, "posix_fallocate"):  # with a sparse file, a full disk would mean a fatal signal without a message
        with (directory / name).open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return out


def open_vectors(directory: Path, name: str, writable: bool = False) -> NDArray[np.float16]:
    """Open an array (n, d) that `create` made, memory-mapped; read-only unless `writable`."""
    vectors: NDArray[np.float16] = np.load(directory / name, mmap_mode="r+" if writable else "r")
    return vectors


def query_file(split: str) -> str:
    """The name of the file with the query vectors of a split."""
    return f"queries-{split}.npy"
