"""params.yaml: rules between keys, and how many problems are told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedtune.config.reading import load_params
from tests.unit.parameters import complaint_about, edited

BETWEEN_KEYS = {
    "scale-of-another-objective": (
        {"train.learn_scale": "true"},
        "train.learn_scale: true is for train.objective: weighted_mse; write false",
    ),
    "scale-that-bixse-learns-anyway": (
        {"train.objective": "bixse", "train.learn_scale": "true"},
        "train.learn_scale: true is for train.objective: weighted_mse, got bixse; write false",
    ),
    "groups-of-pairs": (
        {"train.objective": "cosent", "train.train_group_size": "2"},
        "train.train_group_size: expected 1 or null with train.objective: cosent, which learns pairs",
    ),
    "a-grade-that-no-pair-has": (
        {"dataset.format": "scored", "dataset.relevant_from": "75"},
        "dataset.relevant_from: expected at most 1, the highest rel, got 75",
    ),
    "judged-measure-of-plain-data": (
        {"compare.measures": "[judged_ndcg@10]"},
        "compare.measures: evaluate.cutoffs gives no measure judged_ndcg@10, but recall@1, ndcg@1, mrr@1, recall@10, "
        "ndcg@10, mrr@10, recall@100, ndcg@100, mrr@100",
    ),
    "group-of-one-in-its-group": (
        {"train.negatives": "group", "train.train_group_size": "1"},
        "train.negatives: group with groups of 1 passage leaves nothing to tell a positive from, and trains nothing; "
        "write in_batch, or raise train.train_group_size (and mine.negatives)",
    ),
    "no-negatives-in-its-group": (
        {"train.negatives": "group", "mine.negatives": "0"},
        "train.negatives: group with groups of 1 passage leaves nothing to tell a positive from, and trains nothing; "
        "write in_batch, or raise train.train_group_size (and mine.negatives)",
    ),
    "batch-of-one-alone": (
        {"train.negatives": "in_batch", "train.train_group_size": "1", "train.per_device_train_batch_size": "1"},
        "train.per_device_train_batch_size: 1 with groups of 1 passage leaves nothing to tell a positive from, and "
        "trains nothing; raise it, or train.train_group_size (and mine.negatives)",
    ),
    "patience-without-evaluation": (
        {"train.early_stopping_patience": "2", "train.eval_strategy": "'no'"},
        "train.early_stopping_patience: 2 counts evaluations, and train.eval_strategy is no; write epoch or steps "
        "there, or never here",
    ),
    "shares": (
        {"dataset.split_shares": "{train: 0.7, dev: 0.2, test: 0.2}"},
        "dataset.split_shares: expected train + dev + test to be 1, got 1.1",
    ),
    "overlap": (
        {"segment.max_tokens": "64", "segment.overlap_tokens": "33"},
        "segment.overlap_tokens: expected at most half of segment.max_tokens (64), got 33",
    ),
    "hard-window": (
        {"mine.hard_ranks": "[20, 2]"},
        "mine.hard_ranks: expected the first rank not to be above the last, got [20, 2]",
    ),
    "random-window": (
        {"mine.random_ranks": "[20, 2]"},
        "mine.random_ranks: expected the first rank not to be above the last, got [20, 2]",
    ),
    "group": (
        {"mine.negatives": "7", "train.train_group_size": "9"},
        "train.train_group_size: expected at most mine.negatives + 1 (8: one positive and its negatives), got 9",
    ),
    "model-name": (
        {"model.name": "bge-base-zh-v1.5"},
        "model.name: expected sample, local (the directory in model.path) or a hub id such as BAAI/bge-base-zh-v1.5, "
        "got 'bge-base-zh-v1.5'",
    ),
    "model-directory": (
        {"model.name": "./models/mine"},
        "model.name: for a model in a directory write `name: local` and `path: ./models/mine`",
    ),
}


@pytest.mark.parametrize(("edits", "message"), BETWEEN_KEYS.values(), ids=BETWEEN_KEYS)
def test_rules_between_keys(tmp_path: Path, edits: dict[str, str | None], message: str) -> None:
    assert complaint_about(tmp_path, edits) == f"params.yaml: {message}"


@pytest.mark.parametrize(
    "edits",
    [
        {"segment.max_tokens": "64", "segment.overlap_tokens": "32"},
        {"mine.negatives": "7", "train.train_group_size": "8"},
        {"mine.hard_ranks": "[2, 2]"},
        {"dataset.split_shares": "{train: 1, dev: 0, test: 0}"},
    ],
    ids=["overlap", "group", "window", "shares"],
)
def test_rules_between_keys_allow_their_bounds(tmp_path: Path, edits: dict[str, str | None]) -> None:
    load_params(edited(tmp_path / "params.yaml", edits))


def test_all_problems_are_reported_at_once_in_the_order_of_the_schema(tmp_path: Path) -> None:
    edits = {"mine.hard_share": "70", "model.poling": "cls", "train.seed": None, "evaluate.split": "validation"}
    assert complaint_about(tmp_path, edits).split("\n") == [
        "params.yaml: model.poling: unknown key; did you mean 'pooling'?",
        "params.yaml: mine.hard_share: expected a number from 0 to 1, got 70; for 70 % write 0.7",
        "params.yaml: train.seed: missing; add it with a whole number of 0 or more",
        "params.yaml: evaluate.split: expected one of train, dev, test, got 'validation'",
    ]


def test_all_broken_rules_between_keys_are_reported_at_once(tmp_path: Path) -> None:
    edits = {"mine.hard_ranks": "[20, 2]", "segment.overlap_tokens": "40"}
    assert [line.split(": ")[1] for line in complaint_about(tmp_path, edits).split("\n")] == [
        "segment.overlap_tokens",
        "mine.hard_ranks",
    ]
