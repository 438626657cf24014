"""The gain on the sample comes from what the data teaches: with questions re-paired at random there is none."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import checkout

pytestmark = pytest.mark.slow

SIZE = {"documents": 120, "train_queries": 640, "dev_queries": 20, "test_queries": 300}
TRAINING = {"num_train_epochs": 5, "eval_strategy": "no"}


def test_a_gain_on_true_questions_and_none_on_shuffled_ones(tmp_path: Path) -> None:
    project = checkout(tmp_path)
    project.edit(dataset={"dev_queries": 0, "sample": SIZE}, train=TRAINING)
    project.repro()
    true = project.metrics("comparison")["recall@10"]
    assert true["gain"] > 4 * true["gain_standard_error"]
    project.edit(dataset={"shuffle_train_questions": True})
    project.repro()
    shuffled = project.metrics("comparison")["recall@10"]
    assert shuffled["base"] == true["base"]
    assert shuffled["gain"] <= 2 * shuffled["gain_standard_error"]
