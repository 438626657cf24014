"""Interpolate between a base model and its tuned version, to forget less: choose the share of the tuned weights.

The share is chosen on dev. If several shares cannot be told apart there, the probe (a general-domain data set) decides,
if there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from embedtune.evaluation.dev_evaluation import EvaluationSet, indistinguishable_from_best
from embedtune.models.encoder import Encoder
from embedtune.models.interpolation import Mixture

CUTOFF = 10


@dataclass(frozen=True)
class Sweep:
    """The measure at every share, and the chosen share.

    The columns of `table` are share, in_domain (on dev) and general (on the probe; absent without one).
    """

    table: pd.DataFrame
    chosen: float


def sweep(
    mixture: Mixture,
    shares: list[float],
    dev: EvaluationSet,
    probe: EvaluationSet | None,
    *,
    batch_tokens: int,
    metric: str,
) -> Sweep:
    """Evaluate `metric` at every share (0 to 1) on dev and on the probe, and choose a share.

    `batch_tokens` is the number of tokens in one forward pass. Raises EmbedTuneError if there are no dev queries.
    """
    rows, per_question = [], []
    for share in shares:
        encoder = mixture.set(share)

        def scored(questions: EvaluationSet, encoder: Encoder = encoder) -> pd.Series[float]:
            table = questions.score(encoder, batch_tokens=batch_tokens, cutoffs=[CUTOFF])
            return table[metric]

        in_domain = scored(dev)
        per_question.append(in_domain.tolist())
        row = {"share": share, "in_domain": float(in_domain.mean())}
        rows.append(row | ({"general": float(scored(probe).mean())} if probe else {}))
    evaluations = [{"step": float(number), metric: row["in_domain"]} for number, row in enumerate(rows)]
    best = max(range(len(rows)), key=lambda i: rows[i]["in_domain"])
    if probe:
        near = [best, *indistinguishable_from_best(evaluations, per_question, metric)]
        best = max(near, key=lambda i: rows[i]["general"])
    return Sweep(pd.DataFrame(rows), shares[best])
