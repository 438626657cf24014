"""Attention by matrix products against torch's, and models that use it against the same models without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModel, BertConfig, BertModel, ModernBertConfig, ModernBertModel, Qwen2Config, Qwen2Model

from embedtune.models import attention as module
from embedtune.models.attention import NAME, attend_by_matrix_products, attention

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99}
MODELS = {
    "bert": lambda: BertModel(BertConfig(**SIZES, attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0)),
    "modernbert": lambda: ModernBertModel(
        ModernBertConfig(**SIZES, local_attention=8, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    ),
    "qwen2": lambda: Qwen2Model(Qwen2Config(**SIZES, num_key_value_heads=2)),
}


def key_mask(lengths: list[int], longest: int) -> torch.Tensor:
    return (torch.arange(longest) < torch.tensor(lengths)[:, None])[:, None, None]


@pytest.mark.parametrize("at_a_time", [1, 400, 10**6])
@pytest.mark.parametrize("lengths", [None, [17, 5, 9]], ids=["whole", "padded"])
def test_values_and_gradients_are_torchs(
    monkeypatch: pytest.MonkeyPatch, at_a_time: int, lengths: list[int] | None
) -> None:
    """In fp64, so that a wrong formula could not hide in rounding."""
    monkeypatch.setattr(module, "SCORES", at_a_time)
    torch.manual_seed(0)
    query, key, value, gradient = (torch.randn(3, 2, 17, 8, dtype=torch.float64) for _ in range(4))
    inputs = [part.requires_grad_() for part in (query, key, value)]
    mask = None if lengths is None else key_mask(lengths, 17)
    ours = attention(query, key, value, mask, 0.3)
    theirs = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, gradient), torch.autograd.grad(theirs, inputs, gradient), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_no_scores_are_kept_for_the_backward_pass() -> None:
    """Memory grows with a text's length, not with its square."""
    kept: list[int] = []
    query, key, value = (torch.randn(1, 1, 512, 4, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        attention(query, key, value, None, 0.5)
    assert sum(kept) < 10 * query.numel() < 512 * 512


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("padded", [False, True])
def test_a_model_gives_what_it_gives_without_it(name: str, padded: bool) -> None:
    """In bf16 by matrix products where attention is neither causal nor local; in fp32 to the bit, by torch's kernel."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    ids = torch.randint(3, 99, (3, 21))
    mask = torch.ones_like(ids) if not padded else key_mask([21, 4, 13], 21)[:, 0, 0].long()
    called = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "attention", lambda *a: called.append(1) or attention(*a))
        for dtype, tolerance in ((torch.float32, 0.0), (torch.bfloat16, 0.05)):
            model.set_attn_implementation("sdpa")
            model.to(dtype)
            before = model(input_ids=ids, attention_mask=mask).last_hidden_state.detach()
            attend_by_matrix_products(model)
            after = model(input_ids=ids, attention_mask=mask).last_hidden_state.detach()
            difference = (before - after)[mask.bool()].abs().max().item()
            assert difference <= tolerance
    assert bool(called) == (name != "qwen2")


def test_other_kernels_are_left_and_the_setting_is_not_saved(tmp_path: Path) -> None:
    model = MODELS["bert"]()
    model.set_attn_implementation("eager")
    attend_by_matrix_products(model)
    assert model.config._attn_implementation == "eager"
    model.set_attn_implementation("sdpa")
    attend_by_matrix_products(model)
    assert model.config._attn_implementation == NAME
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
    assert AutoModel.from_pretrained(tmp_path).config._attn_implementation == "sdpa"
