"""Whether one text nearly stands in another, told by the sequences of three tokens that both have.

Exact sets, not MinHash: a question's candidates meet its own relevant documents only, some hundred pairs, where an
estimate would save nothing. A share of the smaller set (the overlap coefficient, of which Broder's containment of 1997
is one side) rather than a resemblance of the two, so that a passage is found anywhere in a long document and a short
positive anywhere in a passage, however the two were cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHINGLE = 3  # tokens
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: spreads small numbers


def shingles(tokens: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Hashes of the text's token trigrams, each once, ascending; one of a text of fewer tokens. Shape (n,), uint64."""
    ids = np.asarray(tokens).astype(np.uint64) + np.uint64(1)
    hashes = np.zeros(max(1, len(ids) - SHINGLE + 1), dtype=np.uint64)
    for place in range(min(SHINGLE, len(ids))):
        part = ids[place : place + len(hashes)]
        mixed = (hashes[: len(part)] ^ part) * MULTIPLIER
        hashes[: len(part)] = mixed ^ (mixed >> np.uint64(32))
    return np.unique(hashes)


def overlap(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> float:
    """The share of the smaller set of shingles that the other has: 1 where the one text stands in the other."""
    places = np.searchsorted(second, first).clip(max=len(second) - 1)
    return int((second[places] == first).sum()) / min(len(first), len(second))
