"""What the training loop passes a batch's features through: an embedder, or a cross-encoder."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from FlagEmbedding.abc.finetune.embedder import AbsEmbedderModel
from transformers import PreTrainedModel

from embedtune.models.cross_encoder import head_in_fp32


class PairScorer(torch.nn.Module):
    """A cross-encoder in training: pairs in, a logit each out. The head computes in fp32, whatever the rest does."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        head_in_fp32(model)

    def encode(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """The logits (rows, 1) of the pairs, fp32."""
        output: Any = self.model(**features)
        logits: torch.Tensor = output.logits
        return logits.float()


Network: TypeAlias = AbsEmbedderModel | PairScorer  # its `encode`: features -> (rows, D)
