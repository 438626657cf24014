"""Random draws as functions of a seed and a key, never of a global generator's state.

A draw keyed by (seed, "mine", query id) comes out the same whatever came before it, in whatever batch or worker.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *key: int | str) -> np.random.Generator:
    """A NumPy generator determined by `seed` and `key` alone (BLAKE2b of both seeds a PCG64)."""
    digest = hashlib.blake2b(repr((seed, *key)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def number(seed: int, *key: int | str) -> int:
    """A whole number below 2**63 determined by `seed` and `key` alone, such as torch.manual_seed takes."""
    return int(generator(seed, *key).integers(2**63))
