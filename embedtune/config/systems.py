"""Systems as params.yaml defines them: whatever ranks documents, and how one is made of another.

base         the model that is tuned
bm25         the search by words
rounds       trainings, each from base or an earlier round
mixtures     of a round's weights with base's
fusions      of bm25's results with an embedding model's
rerankers    another system's first documents, put in order by a cross-encoder
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from embedtune.config.errors import Expected
from embedtune.config.types import Count, Rank, Share, Text

BASE, BM25, NONE, DATASET = "base", "bm25", "none", "dataset"
BESIDE = (BM25,)  # systems beside the embedding models that no section of params.yaml names
RESERVED = (  # names that no other system may have, since these exist:
    *(BASE, *BESIDE, "gain", "gain_standard_error"),  # in metrics/comparison.json
    *(
        "calibration",
        "check",
        "choice",
        "comparison",
        "data",
        "forgetting",
        "gate",
        "rounds",
        "summary",
    ),  # files in metrics/
    *("dataset", "local", "none", "release", "reranker_bases"),  # directories in models/
    *("reliability", "rejection", "training", "mining", "mixing"),  # in metrics/plots/
)


class Section(BaseModel):
    """A section of params.yaml: its keys are these, no more and no fewer."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SystemName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_]*$", max_length=64)]


class Round(Section):
    """A training round: the model `start` (`from` in params.yaml) whose results it mines and whose weights it tunes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    start: SystemName = Field(alias="from")
    teacher: Annotated[SystemName, Expected("none, dataset, or the name of one of rerankers")]


Rounds = Annotated[
    dict[SystemName, Round],
    Field(min_length=1),
    Expected("rounds in lower case, such as {finetuned: {from: base, teacher: none}}"),
]


class Mixture(Section):
    """The round whose weights are interpolated with the base model's, and the weights of that round to try."""

    model: SystemName
    weights: Annotated[list[Share], Field(min_length=1), Expected("weights from 0 to 1 to try, such as [0, 0.5, 1]")]


Mixtures = Annotated[
    dict[SystemName, Mixture],
    Expected("mixtures in lower case, such as {mixed: {model: finetuned, weights: [0, 0.5, 1]}}, or {} for none"),
]


class Fusion(Section):
    """A fusion of BM25's rankings with those of the embedding model `dense`, by ranks or by scores."""

    dense: SystemName
    by: Literal["ranks", "scores"]


Fusions = Annotated[
    dict[SystemName, Fusion],
    Expected("fusions in lower case, such as {hybrid_scores: {dense: finetuned, by: scores}}, or {} for none"),
]


class Reranker(Section):
    """A cross-encoder that re-orders the documents of the system `candidates`.

    Its weights are those of the embedding model `start` (`from` in params.yaml) with a new head or, where that is none,
    those of a ready cross-encoder, `model`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())
    start: SystemName = Field(alias="from")
    model: Text
    path: Text
    revision: Text
    candidates: SystemName
    depth: Rank
    passages: Count
    rows: Literal["mined", "judged"]
    objective: Literal["listwise", "pairwise", "mse", "bce", "none"]


Rerankers = Annotated[
    dict[SystemName, Reranker],
    Expected("rerankers in lower case, such as the one in docs/rerankers.md, or {} for none"),
]


Systems = Annotated[
    list[SystemName],
    Field(min_length=2),
    Expected("a list of two systems or more, such as [base, finetuned, bm25]"),
]


class Release(Section):
    """What dev decides between: `system` is released where it is better than `baseline`."""

    system: SystemName
    baseline: SystemName


def embedding_models(rounds: Mapping[str, Round], mixtures: Mapping[str, Mixture]) -> list[str]:
    """The names of all embedding models: base, the rounds and the mixtures."""
    return [BASE, *rounds, *mixtures]
