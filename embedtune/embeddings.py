"""The vectors that `encode` wrote: `passages.npy` (p, d) and `queries-<split>.npy` (q, d), float16, in file order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PASSAGES = "passages.npy"


def create(directory: Path, name: str, rows: int, dimension: int) -> NDArray[np.float16]:
    """A new array (rows, dimension) on disk, to be filled. Raises OSError when the disk is full."""
    out: NDArray[np.float16] = np.lib.format.open_memmap(
        directory / name, mode="w+", dtype=np.float16, shape=(rows, dimension)
    )
    if hasattr(os, "posix_fallocate"):  # a sparse file would meet a full disk as a fatal signal, without a message
        with (directory / name).open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return out


def open_vectors(directory: Path, name: str, writable: bool = False) -> NDArray[np.float16]:
    """An array (n, d) that `create` made, mapped from disk."""
    vectors: NDArray[np.float16] = np.load(directory / name, mmap_mode="r+" if writable else "r")
    return vectors


def query_file(split: str) -> str:
    """The name of the file that holds a split's query vectors."""
    return f"queries-{split}.npy"
