"""The gain on the sample comes from what the data teaches: with questions re-paired at random there is none.

And a model without a gain is stopped by the gate.
"""

from pathlib import Path

import pytest

from tests.pipeline.conftest import TO_EVALUATE, TO_TRAIN, checkout

pytestmark = pytest.mark.slow

SIZE = {"documents": 120, "train_queries": 640, "dev_queries": 20, "test_queries": 300}
TRAINING = {"num_train_epochs": 4, "eval_strategy": "no"}


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_gain_on_true_questions_and_none_on_shuffled_ones(tmp_path: Path, shuffled: bool) -> None:
    project = checkout(tmp_path)
    project.edit(dataset={"dev_queries": 0, "sample": SIZE, "shuffle_train_questions": shuffled}, train=TRAINING)
    project.edit(systems=["base", "finetuned"])
    printed = project.stages(*TO_TRAIN, *TO_EVALUATE, "choose", "gate", "compare").said
    recall = project.metrics("comparison")["recall@10"]
    if shuffled:
        assert recall["gain"] <= 2 * recall["gain_standard_error"]
        assert "gate: shut (metrics/gate.json)" in printed
        line = (project.root / "params.yaml").read_text().splitlines().index("  ndcg@10:") + 1
        assert f"params.yaml:{line}: gate: ndcg@10: the gain is " in printed
        assert "min_gain asks for +0.01" in printed
        choice = project.metrics("choice")
        assert choice["chosen"] == ("finetuned" if choice["gain"] > choice["standard_error"] else "base")
    else:
        assert "gate: open (metrics/gate.json)" in printed and project.metrics("gate")["passed"]
        assert "choose: finetuned is released: it is better than base on dev, ndcg@10 " in printed
        assert recall["gain"] > 4 * recall["gain_standard_error"]
