"""What the training loop knows of an objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from embedtune.training.network import Network

Features = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LossTerms:
    """The loss of a batch as a sum, so that batches of different sizes can be averaged rightly.

    `total` is the sum of the weighted losses (a scalar with a gradient), `weight` the sum of their weights. `correct`
    is the weight of the examples that the model got right.
    """

    total: torch.Tensor
    weight: float
    correct: torch.Tensor


class Objective(Protocol):
    """Which sides of a batch go through the model, and a loss over what comes out.

    A batch is what the training set collates: a Batch for embedders, a PairBatch for cross-encoders.
    """

    def check(self, batch_size: int, processes: int, group_size: int) -> None:
        """Raise ParameterError if batches of `batch_size` queries on each process leave nothing to learn.

        `group_size` is the number of passages that come with each query.
        """

    def embedder(self, backbone: PreTrainedModel, settings: Any) -> Network:
        """The module that embeds a side's features, around `backbone`, in training mode.

        `settings` are those of an embedding model; None of a cross-encoder.
        """

    def sides(self, batch: Any) -> dict[str, Features]:
        """Name -> features (`input_ids` and `attention_mask`, int64, (rows, tokens)) of what is embedded."""

    def weight(self, batch: Any) -> float:
        """The weight of the batch in the step's mean: `LossTerms.weight`, known before anything is embedded."""

    def loss(self, embedder: Any, embeddings: Mapping[str, torch.Tensor], batch: Any) -> LossTerms:
        """The loss over the sides' embeddings (rows, D), fp32."""
