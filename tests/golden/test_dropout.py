"""Dropout of four numbers a draw: its share, its scale, its repetition by a seed, and where it stands in a model."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest
from transformers import BertConfig, BertModel

from embedtune.models.dropout import Dropout, with_fast_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    ones = torch.ones(301, 997)
    result = Dropout(p)(ones)
    dropped = int((result == 0).sum())
    assert binomtest(dropped, ones.numel(), p).pvalue > 1e-4
    assert result.max().item() == pytest.approx(1 / (1 - p), rel=1e-3)
    assert torch.nn.functional.dropout(ones, p).max().item() == pytest.approx(1 / (1 - p))
    assert result.unique().numel() == 2


def test_numbers_of_one_draw_are_independent() -> None:
    """Neighbours come from the same 64 bits: both dropped as often as chance has it."""
    torch.manual_seed(0)
    dropped = Dropout(0.5)(torch.ones(400_000)) == 0
    for distance in (1, 2, 3, 4):
        both = int((dropped[:-distance] & dropped[distance:]).sum())
        assert binomtest(both, len(dropped) - distance, 0.25).pvalue > 1e-4


def test_the_gradient_has_the_mask_and_the_scale_of_the_output() -> None:
    torch.manual_seed(0)
    x = torch.ones(999, requires_grad=True)
    output = Dropout(0.3)(x)
    output.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, output)


def test_a_seed_repeats_it_and_evaluation_is_without() -> None:
    drop, x = Dropout(0.4), torch.ones(5, 7)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(drop(x))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    assert drop.eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert not Dropout(1.0)(x).any()


def test_every_dropout_of_a_model_is_replaced() -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertModel(BertConfig(**sizes, hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.5))
    expected = [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    with_fast_dropout(model)
    found = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert [module.p for module in found] == expected and 0.25 in expected and 0.5 in expected
    assert all(type(module) is Dropout for module in found)
