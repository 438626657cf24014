"""Interpolate between a base model and its tuned version, to forget less: choose the weight of the tuned version.

The weight is chosen on dev. If several weights cannot be told apart there, the general data set decides, if there is
one.
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
    """The measure at every weight, and the chosen weight.

    The columns of `table` are weight, in_domain (on dev) and general (on the general data; absent without them).
    """

    table: pd.DataFrame
    chosen: float


def sweep(
    mixture: Mixture,
    weights: list[float],
    dev: EvaluationSet,
    general: EvaluationSet | None,
    *,
    batch_tokens: int,
    metric: str,
) -> Sweep:
    """Evaluate `metric` at every weight (0 to 1) on dev and on the general data, and choose a weight.

    `batch_tokens` is the number of tokens in one forward pass. Raises EmbedTuneError if there are no dev queries.
    """
    rows, per_question = [], []
    for weight in weights:
        encoder = mixture.set(weight)

        def scored(questions: EvaluationSet, encoder: Encoder = encoder) -> pd.Series[float]:
            table = questions.score(encoder, batch_tokens=batch_tokens, cutoffs=[CUTOFF])
            return table[metric]

        in_domain = scored(dev)
        per_question.append(in_domain.tolist())
        row = {"weight": weight, "in_domain": float(in_domain.mean())}
        rows.append(row | ({"general": float(scored(general).mean())} if general else {}))
    evaluations = [{"step": float(number), metric: row["in_domain"]} for number, row in enumerate(rows)]
    best = max(range(len(rows)), key=lambda i: rows[i]["in_domain"])
    if general:
        near = [best, *indistinguishable_from_best(evaluations, per_question, metric)]
        best = max(near, key=lambda i: rows[i]["general"])
    return Sweep(pd.DataFrame(rows), weights[best])
