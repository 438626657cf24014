"""The recipe's values: a person's win, the rest depends on the base model and the amount of data."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedtune.config.reading import load_params
from embedtune.config.recipe import (
    FilledTrain,
    filled,
    filled_mine,
    recipe_name,
    train_settings,
    with_temperature,
)
from embedtune.config.schema import Params
from tests.unit.parameters import edited


def params(tmp_path: Path, **edits: str) -> Params:
    keys = {key.replace("__", "."): value for key, value in edits.items()}
    return load_params(edited(tmp_path / "params.yaml", keys))


def test_the_sample_trains_from_scratch_and_any_other_model_gently(tmp_path: Path) -> None:
    sample, own = params(tmp_path), params(tmp_path, model__name="local")
    assert (recipe_name(sample), recipe_name(own)) == ("from_scratch", "pretrained")
    rates = [filled(train_settings(p, 1000, normalize=True)).learning_rate for p in (sample, own)]
    assert rates == [2e-3, 2e-5]
    assert recipe_name(params(tmp_path, model__name="local", train__recipe="from_scratch")) == "from_scratch"


@pytest.mark.parametrize(("questions", "size"), [(1000, 64), (128, 64), (127, 32), (60, 16), (4, 2)])
def test_a_training_from_scratch_has_two_batches_of_few_questions(tmp_path: Path, questions: int, size: int) -> None:
    settings = train_settings(params(tmp_path), questions, normalize=True)
    assert settings["per_device_train_batch_size"].value == size


@pytest.mark.parametrize("name", ["sample", "local"])
def test_what_a_person_writes_wins_and_is_told(tmp_path: Path, name: str) -> None:
    written = {
        "learning_rate": 1e-4,
        "num_train_epochs": 3,
        "per_device_train_batch_size": 5,
        "train_group_size": 3,
        "temperature": 0.07,
        "query_max_len": 11,
        "passage_max_len": 12,
        "warmup_ratio": 0.0,
        "eval_steps": 7,
        "early_stopping_patience": 9,
        "attention_dropout": 0.2,
    }
    assert set(written) == set(FilledTrain.model_fields)
    edits = {f"train__{key}": str(value) for key, value in written.items()}
    settings = train_settings(params(tmp_path, model__name=name, **edits), 1000, normalize=True)
    assert {key: setting.value for key, setting in settings.items()} == written
    assert {setting.source for setting in settings.values()} == {"params.yaml"}
    assert with_temperature(settings, 0.02) == settings


def test_each_value_that_nobody_wrote_says_where_it_is_from(tmp_path: Path) -> None:
    settings = train_settings(params(tmp_path, model__name="local", train__seed="1"), 1000, normalize=True)
    assert settings["temperature"].value is None, "to be fitted"
    settings = with_temperature(settings, 0.013)
    assert settings["temperature"] == (0.013, "fitted to base")
    assert settings["query_max_len"] == (64, "encode.query_max_len")
    assert settings["passage_max_len"] == (64, "segment.max_tokens")
    assert settings["learning_rate"] == (2e-5, "recipe pretrained")
    assert train_settings(params(tmp_path, model__name="local"), 9, normalize=False)["temperature"].value == 1.0


@pytest.mark.parametrize(
    ("questions", "batch", "epochs"),
    [(5, 2, 4), (36, 16, 4), (200, 32, 4), (2000, 32, 2), (3000, 32, 1), (10**6, 32, 1)],
)
def test_few_questions_have_small_batches_and_more_epochs(
    tmp_path: Path, questions: int, batch: int, epochs: int
) -> None:
    values = filled(train_settings(params(tmp_path, model__name="local"), questions, normalize=True))
    assert (values.per_device_train_batch_size, values.num_train_epochs) == (batch, epochs)
    steps = questions // batch * epochs
    assert steps / values.eval_steps <= 4, "four evaluations at most"


def test_never_is_no_early_stopping_and_null_the_recipes(tmp_path: Path) -> None:
    patience = [
        filled(train_settings(params(tmp_path, model__name=name, **edits), 99, normalize=True)).early_stopping_patience
        for name, edits in (
            ("local", {}),
            ("sample", {}),
            ("local", {"train__early_stopping_patience": "never"}),
            ("local", {"train__early_stopping_patience": "4"}),
        )
    ]
    assert patience == [2, None, None, 4]


def test_answers_are_kept_out_of_the_negatives_of_a_pretrained_model(tmp_path: Path) -> None:
    ratios = [
        filled_mine(params(tmp_path, model__name=name, mine__max_score_ratio=typed)).max_score_ratio
        for name, typed in (("sample", "null"), ("local", "null"), ("local", "none"), ("sample", "0.8"))
    ]
    assert ratios == [None, 0.95, None, 0.8]


@pytest.mark.parametrize("objective", ["weighted_mse", "cosent", "bixse"])
@pytest.mark.parametrize("name", ["sample", "local"])
def test_objectives_on_pairs_take_single_passages_and_no_fitted_temperature(
    tmp_path: Path, objective: str, name: str
) -> None:
    found = filled(train_settings(params(tmp_path, train__objective=objective, model__name=name), 1000, normalize=True))
    assert (found.train_group_size, found.temperature) == (1, 0.05)
