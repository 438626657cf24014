"""The recipe: values for the keys of params.yaml that are null, by what the base model is and how much data there is.

`pretrained` changes a good model gently; `from_scratch` is for weights that know nothing yet, such as the sample's. A
value that a person writes wins. The temperature of a pretrained model is not here: training fits it to the model's own
vectors (see training/temperature.py). Values do not depend on the machine.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from embedtune.config.schema import CONTRASTIVE, Mine, Params
from embedtune.config.systems import NONE, Reranker

PRETRAINED, FROM_SCRATCH = "pretrained", "from_scratch"
BATCH, STEPS, MOST_EPOCHS, EVALUATIONS = 32, 100, 4, 4  # of `pretrained`: wanted, the epochs at most
RERANK_BATCH = 16  # questions in a batch of a cross-encoder, each with a group of documents
NEVER = "never"
UNFITTED = 0.02  # the temperature where there is nothing to fit it on


class Setting(NamedTuple):
    """A value of the section `train` and where it came from: params.yaml, or a recipe by its name."""

    value: Any
    source: str


class FilledTrain(BaseModel):
    """The values of the section `train` that a recipe may choose. `early_stopping_patience` None is never.

    `temperature` is None where it is to be fitted to the base model.
    """

    model_config = ConfigDict(frozen=True)
    learning_rate: float
    num_train_epochs: int
    per_device_train_batch_size: int
    train_group_size: int
    temperature: float | None
    query_max_len: int
    passage_max_len: int
    warmup_ratio: float
    eval_steps: int
    early_stopping_patience: int | None
    attention_dropout: float | Literal["own"]


def recipe_name(params: Params) -> Literal["pretrained", "from_scratch"]:
    """The recipe that holds: the one that is written, or by `auto` the one for the base model."""
    if params.train.recipe != "auto":
        return params.train.recipe
    return "from_scratch" if params.model.name == "sample" else "pretrained"


def train_settings(params: Params, questions: int, normalize: bool) -> dict[str, Setting]:
    """Key -> value and source, for each key of `FilledTrain`.

    `questions` is the number of training questions, `normalize` whether the model's vectors have length 1.
    """
    written = {key: getattr(params.train, key) for key in FilledTrain.model_fields}
    chosen = (
        _from_scratch(params, questions)
        if recipe_name(params) == FROM_SCRATCH
        else _pretrained(params, questions, normalize)
    )
    followed = {"query_max_len": "encode.query_max_len", "passage_max_len": "segment.max_tokens"}
    return _settings(written, chosen, f"recipe {recipe_name(params)}", followed)


class FilledRerank(BaseModel):
    """The values of a cross-encoder's training. `early_stopping_patience` None is never."""

    model_config = ConfigDict(frozen=True)
    learning_rate: float
    num_train_epochs: int
    per_device_train_batch_size: int
    train_group_size: int
    warmup_ratio: float
    eval_steps: int
    early_stopping_patience: int | None
    attention_dropout: float | Literal["own"]
    max_len: int


def rerank_settings(params: Params, entry: Reranker, questions: int, longest: int) -> dict[str, Setting]:
    """Key -> value and source, for each key of `FilledRerank`.

    `questions` is the number of training questions of the reranker `entry`, `longest` the tokens of the longest pair
    that its model reads.
    """
    written = {key: getattr(params.rerank, key, None) for key in FilledRerank.model_fields}
    written["attention_dropout"] = params.train.attention_dropout
    batch = written["per_device_train_batch_size"] or _batch_size(questions, RERANK_BATCH)
    epoch_steps = max(1, questions // (batch * params.train.gradient_accumulation_steps))
    of_scratch = entry.start != NONE and recipe_name(params) == FROM_SCRATCH
    epochs = written["num_train_epochs"] or (8 if of_scratch else _epochs(epoch_steps))
    adapters = params.rerank.method != "full"
    if of_scratch:
        chosen = {
            "learning_rate": 1e-2 if adapters else 1e-3,
            "attention_dropout": "own",
            "early_stopping_patience": NEVER,
        }
    else:
        chosen = {"learning_rate": 2e-4 if adapters else 5e-5, "attention_dropout": 0.0, "early_stopping_patience": 2}
    chosen |= {
        "num_train_epochs": epochs,
        "per_device_train_batch_size": batch,
        "train_group_size": 8 if entry.rows == "judged" else min(8, params.mine.negatives + 1),
        "warmup_ratio": 0.1,
        "eval_steps": max(1, math.ceil(epochs * epoch_steps / EVALUATIONS)),
        "max_len": rerank_max_len(params, longest),
    }
    return _settings(written, chosen, f"recipe {FROM_SCRATCH if of_scratch else PRETRAINED}", {})


def rerank_max_len(params: Params, longest: int) -> int:
    """The tokens to which a pair is cut; `longest` are those of the longest pair that the model reads."""
    return params.rerank.max_len or min(longest, params.encode.query_max_len + params.segment.max_tokens)


def _settings(
    written: dict[str, Any], chosen: dict[str, Any], recipe: str, followed: dict[str, str]
) -> dict[str, Setting]:
    """The written values, and where one is None the chosen one, of the `recipe` or of another key of params.yaml."""
    settings = {
        key: Setting(chosen[key], followed.get(key, recipe)) if value is None else Setting(value, "params.yaml")
        for key, value in written.items()
    }
    patience = settings["early_stopping_patience"]
    if patience.value == NEVER:
        settings["early_stopping_patience"] = Setting(None, patience.source)
    return settings


def with_temperature(settings: dict[str, Setting], fitted: float | None) -> dict[str, Setting]:
    """The settings with the temperature that was fitted to the base model, unless params.yaml has one.

    `fitted` is None where there are too few questions for that.
    """
    if settings["temperature"].value is not None:
        return settings
    temperature = Setting(UNFITTED, "recipe pretrained") if fitted is None else Setting(fitted, "fitted to base")
    return settings | {"temperature": temperature}


def told(settings: dict[str, Setting]) -> list[str]:
    """A sentence for each source that values came from, with the values."""
    sources = dict.fromkeys(setting.source for setting in settings.values())
    values = {
        source: [f"{key} {shown(setting.value)}" for key, setting in settings.items() if setting.source == source]
        for source in sources
    }
    return [f"by {source}: {', '.join(found)}" for source, found in values.items()]


def shown(value: Any) -> str:
    """A value as params.yaml would have it."""
    return NEVER if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def filled(settings: dict[str, Setting]) -> FilledTrain:
    """The values of `train_settings` as attributes."""
    return FilledTrain(**{key: setting.value for key, setting in settings.items()})


def filled_mine(params: Params) -> Mine:
    """The section `mine` with the recipe's values; there, `max_score_ratio` None is no limit."""
    ratio = params.mine.max_score_ratio
    if ratio is None:
        ratio = None if recipe_name(params) == FROM_SCRATCH else 0.95
    return params.mine.model_copy(update={"max_score_ratio": None if ratio == "none" else ratio})


def _from_scratch(params: Params, questions: int) -> dict[str, Any]:
    return _lengths_and_group(params) | {
        "learning_rate": 2e-3 if params.train.method == "full" else 1e-2,
        "num_train_epochs": 8,
        "per_device_train_batch_size": _batch_size(questions, 64),
        "temperature": 0.05,
        "warmup_ratio": 0.1,
        "eval_steps": 30,
        "early_stopping_patience": NEVER,
        "attention_dropout": "own",
    }


def _pretrained(params: Params, questions: int, normalize: bool) -> dict[str, Any]:
    """Some STEPS steps, in one epoch to MOST_EPOCHS; smaller batches where there are few questions."""
    written = params.train
    batch = written.per_device_train_batch_size or _batch_size(questions)
    epoch_steps = max(1, questions // (batch * written.gradient_accumulation_steps))
    epochs = written.num_train_epochs or _epochs(epoch_steps)
    return _lengths_and_group(params) | {
        "learning_rate": 2e-5 if written.method == "full" else 1e-4,
        "num_train_epochs": epochs,
        "per_device_train_batch_size": batch,
        "temperature": _temperature(params, normalize),
        "warmup_ratio": 0.1,
        "eval_steps": max(1, math.ceil(epochs * epoch_steps / EVALUATIONS)),
        "early_stopping_patience": 2,
        "attention_dropout": 0.0,  # with it, no fused kernel and four times the memory
    }


def _temperature(params: Params, normalize: bool) -> float | None:
    """None: to be fitted to the base model. Objectives on scored pairs are scaled as their authors did."""
    if params.train.objective != CONTRASTIVE:
        return 0.05
    return None if normalize else 1.0  # inner products that are no cosines have a scale of their own


def _epochs(epoch_steps: int) -> int:
    """As many as give STEPS steps: one at least, MOST_EPOCHS at most."""
    return min(MOST_EPOCHS, max(1, round(STEPS / epoch_steps)))


def _batch_size(questions: int, most: int = BATCH) -> int:
    """`most`, halved until two batches of questions are there; a batch of one has no other's passages as negatives."""
    size = most
    while size > 2 and 2 * size > questions:
        size //= 2
    return size


def _lengths_and_group(params: Params) -> dict[str, Any]:
    return {
        "train_group_size": min(2, params.mine.negatives + 1) if params.train.objective == CONTRASTIVE else 1,
        "query_max_len": params.encode.query_max_len,
        "passage_max_len": params.segment.max_tokens,
    }
