"""Linear interpolation between the weights of two models, with one ratio for all weights.

base + weight * (tuned - base), as in LM-Cocktail (Xiao et al. 2023) and WiSE-FT (Wortsman et al. 2022).
"""

from __future__ import annotations

from pathlib import Path

import torch

from embedtune.core.errors import EmbedTuneError
from embedtune.models.encode import load_backbone
from embedtune.models.encoder import Encoder, load_encoder


class Mixture:
    """The model in the directory `base`, whose weights can be interpolated towards those of `tuned`, in fp32."""

    def __init__(self, base: Path, tuned: Path, device: torch.device) -> None:
        """Raises EmbedTuneError when the names or shapes of the two models' weights differ."""
        self.encoder = load_encoder(base, device=device)
        self.base = {name: value.clone() for name, value in self.encoder.model.state_dict().items()}
        self.tuned = load_backbone(tuned, torch.float32, device).state_dict()
        shapes = ({name: value.shape for name, value in state.items()} for state in (self.base, self.tuned))
        if next(shapes) != next(shapes):
            raise EmbedTuneError(f"{base} and {tuned} have different weights, which cannot be mixed")

    @torch.no_grad()
    def set(self, weight: float) -> Encoder:
        """Set the weights in place to base + `weight` * (tuned - base), `weight` from 0 to 1; return the encoder."""
        for name, value in self.encoder.model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.lerp(self.base[name], self.tuned[name], weight))
        return self.encoder
