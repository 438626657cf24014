"""Random number generators that depend on a seed and a key alone, never on the state of a global generator.

A draw keyed by (seed, "mine", query id) gives the same result regardless of earlier draws, the batch or the worker.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *key: int | str) -> np.random.Generator:
    """A NumPy generator determined by `seed` and `key` alone (BLAKE2b of both seeds a PCG64)."""
    digest = hashlib.blake2b(repr((seed, *key)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def torch_seed(seed: int, *key: int | str) -> int:
    """An integer from 0 to 2**63 - 1 for torch.manual_seed, determined by `seed` and `key` alone."""
    return int(generator(seed, *key).integers(2**63))
