"""Checks of params.yaml against the data and the base model, before anything costs: refusals and warnings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from embedtune.config.recipe import FROM_SCRATCH, FilledTrain, recipe_name
from embedtune.config.schema import CONTRASTIVE, Params
from embedtune.config.systems import DATASET
from embedtune.core.errors import Problems

HIGHEST_LEARNING_RATE = 1e-4  # for all weights of a pretrained model; more than this has harmed every one tried
FEW_DEV = 50  # dev questions


@dataclass(frozen=True)
class Facts:
    """What the parameters are checked against.

    The numbers of training rows (questions, or scored pairs where the objective takes these), of questions of dev and
    the evaluated split, and of passages; `scored`: whether every training question has a teacher's scores; `judged`:
    whether all judgments are from 0 to 1; `normalize`: whether the model's vectors have length 1; `dimension` and
    `max_tokens` of the base model.
    """

    train: int
    dev: int
    evaluated: int
    passages: int
    scored: bool
    judged: bool
    normalize: bool
    dimension: int
    max_tokens: int


def refuse_what_cannot_work(params: Params, values: FilledTrain, facts: Facts, path: Path, problems: Problems) -> None:
    """Add to `problems` every key of the file `path` that the data or the model make impossible.

    `values` are those that training will use.
    """

    def refuse(key: str, what: str) -> None:
        problems.add(f"{path}: {key}", what)

    train = params.train
    batch, rows = values.per_device_train_batch_size, "questions" if train.objective == CONTRASTIVE else "pairs"
    if batch > facts.train and (train.dataloader_drop_last or not facts.train):
        refuse(
            "train.per_device_train_batch_size",
            f"{batch} is more than the {facts.train} training {rows}; lower it, write null, or "
            "write train.dataloader_drop_last: false",
        )
    if train.objective != CONTRASTIVE and not facts.judged:
        refuse("train.objective", f"{train.objective} takes judgments from 0 to 1, and the data set has others")
    if train.objective != CONTRASTIVE and not facts.normalize:
        refuse(
            "model.normalize",
            f"train.objective: {train.objective} learns cosines, and so takes true; null is the model's",
        )
    if train.objective == CONTRASTIVE and not facts.train:
        refuse("train.objective", "contrastive needs relevant documents, and no training question has one")
    _refuse_lengths(values, facts, refuse)
    too_wide = [size for size in train.matryoshka_dims if size > facts.dimension]
    if too_wide:
        refuse(
            "train.matryoshka_dims",
            f"expected at most {facts.dimension}, the size of the model's vectors, got {too_wide[0]}",
        )
    if train.eval_strategy != "no" and not facts.dev:
        refuse(
            "train.eval_strategy",
            f"{train.eval_strategy} needs dev questions, and there are none; raise dataset.dev_queries and "
            "dataset.split_shares.dev, or write `no`",
        )
    taught = [name for name, stage in params.rounds.items() if stage.teacher == DATASET]
    if taught and not (facts.scored and params.mine.source == "dataset"):
        refuse(
            f"rounds.{taught[0]}.teacher",
            "dataset needs a teacher's scores of every passage: `format: triplets` with pos_scores and neg_scores in "
            "every row, and mine.source: dataset",
        )


def _refuse_lengths(values: FilledTrain, facts: Facts, refuse: Callable[[str, str], None]) -> None:
    for key in ("query_max_len", "passage_max_len"):
        tokens = getattr(values, key)
        if tokens > facts.max_tokens:
            refuse(
                f"train.{key}", f"expected at most {facts.max_tokens}, the longest text the model reads, got {tokens}"
            )


def warnings(params: Params, values: FilledTrain, facts: Facts, path: Path) -> Iterator[str]:
    """Yield a sentence for each value that may harm, or promises what so little data cannot show."""
    pretrained = recipe_name(params) != FROM_SCRATCH
    if pretrained and params.train.method == "full" and values.learning_rate > HIGHEST_LEARNING_RATE:
        yield (
            f"{path}: train.learning_rate: {values.learning_rate:g} is high for all weights of a pretrained model, "
            "and tends to destroy what it knows; 1e-5 to 3e-5 is usual, and null takes the recipe's"
        )
    if facts.dev < FEW_DEV:
        spread = 0.35 / math.sqrt(facts.dev) if facts.dev else 1.0
        yield (
            f"{facts.dev} dev questions choose the checkpoint, what is released, and what a score means; differences "
            f"below {2 * spread:.2f} in NDCG@10 are hardly seen among so few. Raise dataset.dev_queries and "
            "dataset.split_shares.dev, or bring more questions"
        )
    for rule, asked in params.gate.items():
        if asked.min_gain < 0 and " in " not in rule:
            left = 1 - (1 - asked.confidence) ** (1 / facts.evaluated) if facts.evaluated else 1.0
            if left > -asked.min_gain:
                enough = math.ceil(math.log(1 - asked.confidence) / math.log(1 + asked.min_gain))
                yield (
                    f"{path}: gate.{rule}: of {facts.evaluated} {params.evaluate.split} questions none of which loses, "
                    f"a loss of {left:.2g} is still possible with a confidence of {asked.confidence:g}: a loss of at "
                    f"most {-asked.min_gain:g} takes {enough} questions, or gains; the gate will probably stay shut"
                )
