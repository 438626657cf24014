"""The number of floating-point operations of a training run."""

from __future__ import annotations

import torch
from transformers import PretrainedConfig

from embedtune.models.saving import POOLER


def training_flops(
    backbone: torch.nn.Module, config: PretrainedConfig, tokens: int, tokens_per_sequence: float
) -> float:
    """Floating-point operations of the forward and backward passes over `tokens` tokens, recomputation not counted.

    Per token: 6 for each trained weight in a matrix and 4 for each frozen one (embedding tables and pooler excluded),
    plus 12 L d T for attention in L layers of width d over T = `tokens_per_sequence` tokens (PaLM, Chowdhery et al.
    2022, appendix B).
    """
    tables = {id(m.weight) for m in backbone.modules() if isinstance(m, torch.nn.Embedding)}
    named = [(name, p) for name, p in backbone.named_parameters() if p.ndim > 1 and id(p) not in tables]
    matrices = [p for name, p in named if POOLER not in name.split(".")]
    weights = sum(weights_in(p) * (6 if p.requires_grad else 4) for p in matrices)
    attention: float = 12 * config.num_hidden_layers * config.hidden_size * tokens_per_sequence
    return tokens * (weights + attention)


def weights_in(parameter: torch.nn.Parameter) -> int:
    """The number of weights in a parameter: bitsandbytes packs two 4-bit weights into a byte."""
    return parameter.numel() * (2 if type(parameter).__name__ == "Params4bit" else 1)
