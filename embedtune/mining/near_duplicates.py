"""Near-duplicate detection: how much of one text is contained in another, by shared token trigrams (shingles).

The sets are exact rather than MinHash sketches. A query's candidates are compared only with its own relevant documents,
about a hundred pairs, where an estimate would save nothing. The measure is the overlap coefficient, of which Broder's
containment (1997) is the one-sided form, rather than Jaccard resemblance. It finds a passage anywhere in a long
document, and a short positive anywhere in a passage, however the two were segmented.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHINGLE = 3  # tokens
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads small numbers over 64 bits


def shingles(tokens: NDArray[np.integer]) -> NDArray[np.uint64]:
    """The distinct hashes of a text's token trigrams, ascending, uint64, shape (n,). A shorter text has one hash."""
    ids = np.asarray(tokens).astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(max(1, len(ids) - SHINGLE + 1), dtype=np.uint64)
    for place in range(min(SHINGLE, len(ids))):
        part = ids[place : place + len(hashes)]
        mixed = (hashes[: len(part)] ^ part) * MULTIPLIER
        hashes[: len(part)] = mixed ^ (mixed >> np.uint64(32))
    return np.unique(hashes)


def overlap(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> float:
    """The overlap coefficient: the share of the smaller set of shingles that is in the other set.

    It is 1 where one text contains the other. Both sets are as `shingles` returns them.
    """
    places = np.searchsorted(second, first).clip(max=len(second) - 1)
    return int((second[places] == first).sum()) / min(len(first), len(second))
