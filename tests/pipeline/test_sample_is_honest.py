"""The gain on the sample comes from what the data teaches: with questions re-paired at random there is none."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import checkout

pytestmark = pytest.mark.slow

SIZE = {"documents": 120, "train_queries": 640, "dev_queries": 20, "test_queries": 300}
TRAINING = {"num_train_epochs": 5, "eval_strategy": "no"}


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_gain_on_true_questions_and_none_on_shuffled_ones(tmp_path: Path, shuffled: bool) -> None:
    project = checkout(tmp_path)
    project.edit(dataset={"dev_queries": 0, "sample": SIZE, "shuffle_train_questions": shuffled}, train=TRAINING)
    project.repro()
    recall = project.metrics("comparison")["recall@10"]
    if shuffled:
        assert recall["gain"] <= 2 * recall["gain_standard_error"]
    else:
        assert recall["gain"] > 4 * recall["gain_standard_error"]
