"""Arrays on disk whose room is taken when they are created: a full disk is an error then, not a fatal signal later."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def create_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Create a memory-mapped .npy file, to be filled. Raises OSError when the disk is full.

    In a sparse file, a full disk would end the process with SIGBUS, without a message.
    """
    out: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return out
