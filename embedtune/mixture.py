"""A model between two others: weights mixed in proportion, so that tuning on one domain forgets less of the rest.

LM-Cocktail (Xiao et al. 2023), linear and with one ratio for all weights: base + share * (tuned - base). The share is
chosen on dev; where several shares cannot be told apart there, the one that does best on the probe, if there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from transformers import PreTrainedModel

from embedtune.dev_evaluation import DevSet, hard_to_tell_apart
from embedtune.encode import load_encoder, pad_token_id
from embedtune.errors import EmbedTuneError
from embedtune.model import Settings

CUTOFF = 10


@dataclass(frozen=True)
class Sweep:
    """What every share gives: `table` has columns share, in_domain, general (absent without a probe); `chosen` is one
    of the shares."""

    table: pd.DataFrame
    chosen: float


class Mixture:
    """The model of `base`, whose weights can be moved towards those of `tuned` (both directories), in fp32."""

    def __init__(self, base: Path, tuned: Path, device: torch.device) -> None:
        """Raises EmbedTuneError when the two have other weights than each other."""
        self.model: PreTrainedModel = load_encoder(base, torch.float32, device)
        self.base = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.tuned = load_encoder(tuned, torch.float32, device).state_dict()
        shapes = ({name: value.shape for name, value in state.items()} for state in (self.base, self.tuned))
        if next(shapes) != next(shapes):
            raise EmbedTuneError(f"{base} and {tuned} have different weights, which cannot be mixed")

    @torch.no_grad()
    def set(self, share: float) -> PreTrainedModel:
        """The model with `share` of the tuned weights, 0 to 1."""
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.lerp(self.base[name], self.tuned[name], share))
        return self.model


def sweep(
    mixture: Mixture,
    base: Path,
    settings: Settings,
    shares: list[float],
    dev: DevSet,
    probe: DevSet | None,
    *,
    batch_tokens: int,
    metric: str,
) -> Sweep:
    """Measure `metric` at every share, on dev's pool and on the probe, and choose."""
    rows, per_question = [], []
    for share in shares:
        model = mixture.set(share)

        def scored(questions: DevSet, model: PreTrainedModel = model) -> pd.Series[float]:
            table = questions.score(
                model,
                settings,
                pad_id=pad_token_id(base),
                batch_tokens=batch_tokens,
                cutoffs=[CUTOFF],
                section="encode",
            )
            return table[metric]

        in_domain = scored(dev)
        per_question.append(in_domain.tolist())
        row = {"share": share, "in_domain": float(in_domain.mean())}
        rows.append(row | ({"general": float(scored(probe).mean())} if probe else {}))
    evaluations = [{"step": float(number), metric: row["in_domain"]} for number, row in enumerate(rows)]
    best = max(range(len(rows)), key=lambda i: rows[i]["in_domain"])
    if probe:
        near = [best, *hard_to_tell_apart(evaluations, per_question, metric)]
        best = max(near, key=lambda i: rows[i]["general"])
    return Sweep(pd.DataFrame(rows), shares[best])
