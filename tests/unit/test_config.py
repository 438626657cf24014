"""params.yaml: what is shipped is right, and each wrong value gets a message that says how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dvc.utils.serialize import load_yaml

from embedtune.config.reading import load_params, parse_params
from tests.unit.parameters import SHIPPED, TRAIN_KEYS, complaint, complaint_about, edited


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_parameters_are_valid(path: Path) -> None:
    load_params(path)


@pytest.mark.parametrize(
    ("typed", "value"),
    [("2e-5", 2e-5), ("1e-05", 1e-5), ("2.0e-5", 2e-5), ("0.001", 0.001), ("1", 1.0), ("010", 10), ("0o10", 8)],
)
def test_numbers_are_those_that_dvc_reads(tmp_path: Path, typed: str, value: float) -> None:
    path = edited(tmp_path / "params.yaml", {"train.learning_rate": typed})
    assert load_params(path).train.learning_rate == value
    assert load_yaml(str(path))["train"]["learning_rate"] == value


NORMALIZE = "expected true, false, or null for the model's own"


@pytest.mark.parametrize("typed", ["yes", "on", "no", "'true'"])
def test_what_dvc_reads_as_a_text_is_no_truth_value(tmp_path: Path, typed: str) -> None:
    path = edited(tmp_path / "params.yaml", {"model.normalize": typed})
    assert isinstance(load_yaml(str(path))["model"]["normalize"], str)
    text = typed.strip("'")
    assert complaint(path) == f"params.yaml: model.normalize: {NORMALIZE}, got '{text}'"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_whole_file_is_read_as_dvc_reads_it(path: Path) -> None:
    assert parse_params(path.read_text(encoding="utf-8"), path) == load_yaml(str(path))


def test_a_count_may_be_written_as_a_power_of_ten(tmp_path: Path) -> None:
    assert load_params(edited(tmp_path / "params.yaml", {"train.logging_steps": "1e3"})).train.logging_steps == 1000


@pytest.mark.parametrize("typed", ["[1000, null]", "[1000, 2000]", "null"])
def test_a_window_of_random_ranks_may_be_open_or_absent(tmp_path: Path, typed: str) -> None:
    params = load_params(edited(tmp_path / "params.yaml", {"mine.random_ranks": typed}))
    expected = yaml.safe_load(typed)
    assert params.mine.random_ranks == (None if expected is None else tuple(expected))


WRONG_VALUES = {
    "share-as-percentage": (
        {"mine.hard_share": "70"},
        "mine.hard_share: expected a number from 0 to 1, got 70; for 70 % write 0.7",
    ),
    "share-as-odd-percentage": (
        {"train.warmup_ratio": "12.5"},
        "train.warmup_ratio: expected a number from 0 to 1, or null for the recipe's, got 12.5; for 12.5 % write 0.125",
    ),
    "share-far-out": ({"mine.hard_share": "700"}, "mine.hard_share: expected a number from 0 to 1, got 700"),
    "share-negative": ({"mine.hard_share": "-0.1"}, "mine.hard_share: expected a number from 0 to 1, got -0.1"),
    "share-true": ({"mine.hard_share": "true"}, "mine.hard_share: expected a number from 0 to 1, got true"),
    "number-true": (
        {"train.temperature": "true"},
        "train.temperature: expected a number above 0, or null for the recipe's, got true",
    ),
    "number-zero": (
        {"train.temperature": "0"},
        "train.temperature: expected a number above 0, or null for the recipe's, got 0",
    ),
    "number-negative": ({"train.weight_decay": "-1"}, "train.weight_decay: expected a number of 0 or more, got -1"),
    "number-infinite": (
        {"train.learning_rate": ".inf"},
        "train.learning_rate: expected a number above 0, or null for the recipe's, got inf",
    ),
    "number-nan": (
        {"train.learning_rate": ".nan"},
        "train.learning_rate: expected a number above 0, or null for the recipe's, got nan",
    ),
    "number-word": (
        {"train.learning_rate": "low"},
        "train.learning_rate: expected a number above 0, or null for the recipe's, got 'low'",
    ),
    "number-null": (
        {"train.weight_decay": "null"},
        "train.weight_decay: expected a number of 0 or more, got null",
    ),
    "number-in-quotes": (
        {"train.learning_rate": "'2e-5'"},
        "train.learning_rate: expected a number above 0, or null for the recipe's, got '2e-5'",
    ),
    "strategy-false": (
        {"train.eval_strategy": "false"},
        "train.eval_strategy: expected one of no, epoch, steps, got false",
    ),
    "number-list": (
        {"train.learning_rate": "[1]"},
        "train.learning_rate: expected a number above 0, or null for the recipe's, got [1]",
    ),
    "nothing-to-distil": (
        {"rounds.finetuned.teacher": "dataset", "train.train_group_size": "1"},
        "rounds.finetuned.teacher: expected none with groups of 1 passage, where there is nothing to score, "
        "got dataset",
    ),
    "count-zero": (
        {"train.num_train_epochs": "0"},
        "train.num_train_epochs: expected a whole number of 1 or more, or null for the recipe's, got 0",
    ),
    "count-fraction": (
        {"train.num_train_epochs": "2.5"},
        "train.num_train_epochs: expected a whole number of 1 or more, or null for the recipe's, got 2.5",
    ),
    "count-true": (
        {"train.num_train_epochs": "true"},
        "train.num_train_epochs: expected a whole number of 1 or more, or null for the recipe's, got true",
    ),
    "seed-negative": ({"train.seed": "-1"}, "train.seed: expected a whole number of 0 or more, got -1"),
    "sample-too-small": (
        {"dataset.sample.documents": "9"},
        "dataset.sample.documents: expected a whole number of 10 or more, got 9",
    ),
    "max-passages": (
        {"segment.max_passages": "0"},
        "segment.max_passages: expected a whole number of 1 or more, or null for all passages, got 0",
    ),
    "hard-ranks-from-0": (
        {"mine.hard_ranks": "[0, 20]"},
        "mine.hard_ranks: expected two ranks [first, last], 1-based, such as [2, 20], got [0, 20]",
    ),
    "hard-ranks-of-one": (
        {"mine.hard_ranks": "[2]"},
        "mine.hard_ranks: expected two ranks [first, last], 1-based, such as [2, 20], got [2]",
    ),
    "hard-ranks-as-text": (
        {"mine.hard_ranks": "2-20"},
        "mine.hard_ranks: expected two ranks [first, last], 1-based, such as [2, 20], got '2-20'",
    ),
    "random-ranks-open-below": (
        {"mine.random_ranks": "[null, 9]"},
        "mine.random_ranks: expected null for the whole corpus, or two ranks [first, last] whose last may be null, "
        "such as [1000, null], got [None, 9]",
    ),
    "cutoffs-empty": (
        {"evaluate.cutoffs": "[]"},
        "evaluate.cutoffs: expected a list of ranks of 1 or more, such as [1, 10, 100], got []",
    ),
    "cutoffs-number": (
        {"evaluate.cutoffs": "10"},
        "evaluate.cutoffs: expected a list of ranks of 1 or more, such as [1, 10, 100], got 10",
    ),
    "choice": (
        {"model.pooling": "average"},
        "model.pooling: expected one of cls, mean, last_token, or null for the model's own, got 'average'",
    ),
    "text-empty": ({"dataset.path": '""'}, "dataset.path: expected a text that is not empty, got ''"),
    "text-null": ({"dataset.path": "null"}, "dataset.path: expected a text that is not empty, got null"),
    "text-number": ({"model.revision": "123"}, "model.revision: expected a text that is not empty, got 123"),
    "instruction": (
        {"model.query_instruction": "7"},
        "model.query_instruction: expected a text, or null for the model's own, got 7",
    ),
    "flag": (
        {"model.normalize": "maybe"},
        "model.normalize: expected true, false, or null for the model's own, got 'maybe'",
    ),
    "section-null": (
        {"dataset.sample": "null"},
        "dataset.sample: expected a section with the keys documents, train_queries, dev_queries, test_queries, "
        "rows, got null",
    ),
    "section-list": (
        {"evaluate": "[test]"},
        "evaluate: expected a section with the keys split, cutoffs, depth, best_passages, index_search, got ['test']",
    ),
}


@pytest.mark.parametrize(("edits", "message"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_a_wrong_value_is_named_with_what_would_be_right(
    tmp_path: Path, edits: dict[str, str | None], message: str
) -> None:
    assert complaint_about(tmp_path, edits) == f"params.yaml: {message}"


UNKNOWN_OR_MISSING = {
    "unknown-close": (
        {"train.learning_rat": "1"},
        "train.learning_rat: unknown key; did you mean 'learning_rate'?",
    ),
    "unknown-with-a-dash": (
        {"train.learning-rate": "1"},
        "train.learning-rate: unknown key; did you mean 'learning_rate'?",
    ),
    "unknown-far": ({"train.zzz": "1"}, f"train.zzz: unknown key; known here: {TRAIN_KEYS}"),
    "unknown-deep": (
        {"dataset.sample.document": "1"},
        "dataset.sample.document: unknown key; did you mean 'documents'?",
    ),
    "unknown-section": ({"training": "1"}, "training: unknown key; did you mean 'train'?"),
    "missing-number": (
        {"train.temperature": None},
        "train.temperature: missing; add it with a number above 0, or null for the recipe's",
    ),
    "missing-choice": ({"evaluate.split": None}, "evaluate.split: missing; add it with one of train, dev, test"),
    "missing-window": (
        {"mine.hard_ranks": None},
        "mine.hard_ranks: missing; add it with two ranks [first, last], 1-based, such as [2, 20]",
    ),
    "missing-flag": (
        {"model.normalize": None},
        "model.normalize: missing; add it with true, false, or null for the model's own",
    ),
    "missing-section": (
        {"evaluate": None},
        "evaluate: missing; add it with a section with the keys split, cutoffs, depth, best_passages, index_search",
    ),
}


@pytest.mark.parametrize(("edits", "message"), UNKNOWN_OR_MISSING.values(), ids=UNKNOWN_OR_MISSING)
def test_unknown_and_missing_keys_are_named(tmp_path: Path, edits: dict[str, str | None], message: str) -> None:
    assert complaint_about(tmp_path, edits) == f"params.yaml: {message}"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("5", "5: unknown key"),
        ("null", "None: unknown key"),
        ("on", "on: unknown key"),  # in YAML 1.2 a text
    ],
)
def test_a_key_that_yaml_does_not_read_as_text_is_refused_by_name(tmp_path: Path, key: str, said: str) -> None:
    path = edited(tmp_path / "params.yaml", {})
    path.write_text(path.read_text(encoding="utf-8") + f"{key}: 1\n", encoding="utf-8")
    assert said in complaint(path)
