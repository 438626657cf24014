"""Attention in bf16 on a CPU by matrix products: in training up to five times as fast as torch's fused kernel.

torch's fused kernel for CPUs works in blocks that processors with native bf16 (AMX, AVX512-BF16) multiply slowly, its
backward pass above all. Here the scores are whole matrix products. None of them is kept: the backward pass computes
them again, as FlashAttention does (Dao et al. 2022), so that memory grows with a text's length and not with its square.
Padding is masked by one more number in each key and query, which costs next to nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import bidirectional_mask_function, sdpa_mask

NAME = "embedtune_bf16_cpu"
MASKED = -30_000.0  # a score of which the softmax makes 0
SCORES = 2**25  # scores that are in memory at a time: 64 MB


def attend_by_matrix_products(model: PreTrainedModel) -> None:
    """Let the model attend by this module where it computes in bf16 on a CPU, and else by torch's fused kernel.

    Causal and sliding-window attention, and attention dropout, stay with the fused kernel; so do models that do not
    use it (`sdpa`) to begin with. The setting is not saved with the model.
    """
    if model.config._attn_implementation == "sdpa" and model.device.type == "cpu":
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, _mask)
        model.set_attn_implementation(NAME)


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """softmax(scale * query key^T) value; all of shape (n, heads, length, d), and of one dtype.

    `mask` (n, 1, 1, length), bool, is false at keys that no query attends to; None: none is masked. Derivatives of the
    first order alone are defined.
    """
    shape = query.shape
    query, key = query * scale, key
    if mask is not None:
        bias = torch.where(mask.transpose(-1, -2), 0.0, MASKED).to(key.dtype).expand(*shape[:-1], 1)
        query, key = torch.cat([query, torch.ones_like(bias)], -1), torch.cat([key, bias], -1)
    flat = (part.reshape(-1, shape[2], part.shape[-1]) for part in (query, key, value))
    result: torch.Tensor = _Attention.apply(*flat)
    return result.view(shape)


class _Attention(torch.autograd.Function):
    """softmax(q k^T) v over matrices (n, length, d), which are taken some at a time."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        parts = [_shares(q, k) @ v for q, k, v in _some_at_a_time(query, key, value)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = [_gradients(*some) for some in _some_at_a_time(*ctx.saved_tensors, gradients[0])]
        return tuple(torch.cat(part) if len(part) > 1 else part[0] for part in zip(*parts, strict=True))


def _gradients(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The derivatives with respect to query, key and value."""
    shares = _shares(query, key)
    of_value = shares.transpose(1, 2) @ gradient
    of_shares = gradient @ value.transpose(1, 2)
    of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
    return of_scores @ key, of_scores.transpose(1, 2) @ query, of_value


def _shares(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Each query's attention (n, length, length): how much of each key's value it takes."""
    scores = query @ key.transpose(1, 2)
    return torch.softmax(scores, -1, out=scores)


def _some_at_a_time(*matrices: torch.Tensor) -> Any:
    """The matrices (n, length, d) in parts with at most SCORES scores."""
    size = max(1, SCORES // matrices[0].shape[1] ** 2)
    return zip(*(part.split(size) for part in matrices), strict=True)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface for attention functions."""
    causal = others.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    padding_alone = attention_mask is None or attention_mask.shape[1:3] == (1, 1)
    others_used = any(others.get(name) is not None for name in ("position_bias", "softcap"))
    plain = not causal and padding_alone and not others_used and query.shape == key.shape == value.shape
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and plain and not dropout:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return attention(query, key, value, attention_mask, scale).transpose(1, 2).contiguous(), None
    if attention_mask is not None:
        attention_mask = attention_mask.expand(-1, -1, query.shape[2], -1)
    result: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
    )
    return result


def _mask(**arguments: Any) -> torch.Tensor | None:
    """transformers' interface for masks: as for `sdpa`, but padding alone gives (n, 1, 1, length)."""
    mask, padding = sdpa_mask(**arguments), arguments.get("attention_mask")
    if mask is None or padding is None or arguments["mask_function"] is not bidirectional_mask_function:
        return mask
    return mask[:, :, :1]
