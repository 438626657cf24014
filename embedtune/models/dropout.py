"""Dropout (Srivastava et al. 2014) on a CPU with four random numbers from each draw of 64 bits.

torch's own draws one number for each element, on one core: on two cores with native bf16 a tenth of a training step.
"""

from __future__ import annotations

import torch

STEPS = 2**16  # a probability is a multiple of 1 / STEPS


class Dropout(torch.nn.Dropout):
    """As torch.nn.Dropout, by torch's CPU generator; the mask that the backward pass needs takes a byte an element."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The input with a share `p` of its elements 0 and the others larger, in training; else as it is."""
        dropped = round(self.p * STEPS)
        if not self.training or not dropped:
            return input
        if dropped == STEPS:
            return input * 0
        return input * _kept(input.shape, dropped) * (STEPS / (STEPS - dropped))


def _kept(shape: torch.Size, dropped: int) -> torch.Tensor:
    """A mask, bool, that is false at `dropped` of STEPS elements, in the mean."""
    least = torch.iinfo(torch.int64).min
    drawn = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(least, None)
    numbers = drawn.view(torch.int16)[: shape.numel()].view(shape)
    return numbers >= dropped - STEPS // 2


def with_fast_dropout(model: torch.nn.Module) -> None:
    """Replace the model's torch.nn.Dropout modules, if the model is on a CPU."""
    if next(model.parameters()).device.type != "cpu":
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is torch.nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
