"""Batches of token sequences: sorting by length, batch size under a token budget, and padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def longest_first(lengths: NDArray[np.integer]) -> NDArray[np.intp]:
    """The row numbers sorted by decreasing length; rows of equal length keep their order."""
    return np.argsort(-lengths, kind="stable")


def batch_size(longest: int, batch_tokens: int) -> int:
    """The number of sequences of `longest` tokens that fit in `batch_tokens` tokens, at least one."""
    return max(1, batch_tokens // max(1, longest))


def pad(
    sequences: Sequence[NDArray[np.integer]], pad_id: int, multiple_of: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pad sequences on the right and return (token ids, attention mask), both int64.

    Their shape is (batch, length): the longest sequence's length, rounded up to a multiple of `multiple_of`.
    """
    longest = -(-max(len(sequence) for sequence in sequences) // multiple_of) * multiple_of
    ids = np.full((len(sequences), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return ids, mask
