"""Pooling: turn the token vectors of a text into its embedding."""

from __future__ import annotations

import torch


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool token vectors (batch, length, d) into embeddings (batch, d).

    `mask` (batch, length) is 1 for tokens and 0 for padding. `pooling` is cls, mean or last_token. last_token works
    with padding on either side.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean":
        weights = mask.unsqueeze(-1).float()  # sum in fp32, as in training
        return (hidden * weights).sum(1) / weights.sum(1)
    last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]
