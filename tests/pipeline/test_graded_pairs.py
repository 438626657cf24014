"""Scored pairs through the stages: what is learned, what is measured, and a report of it all."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import TO_EVALUATE, TO_TRAIN, checkout

pytestmark = pytest.mark.slow

SCORED = {"format": "scored", "relevant_from": 0.75, "sample": {"rows": 750}}
AFTER = ("lexical", "choose", "gate", "compare", "calibrate", "general_data")
HANDED_OVER = ("forgetting", "release", "report")


def test_graded_pairs_are_learned_and_measured_to_the_report(tmp_path: Path) -> None:
    """The order of the judged documents gets better than base's and than that by words, beyond chance."""
    project = checkout(tmp_path)
    project.edit(dataset=SCORED, mine={"positive_passage": "first", "negatives": 0}, evaluate={"depth": 2000})
    project.edit(train={"objective": "weighted_mse", "learn_scale": True, "eval_strategy": "no", "num_train_epochs": 6})
    project.edit(systems=["base", "finetuned", "bm25"], fusions=None)
    project.edit(train={"per_device_train_batch_size": 32}, compare={"measures": ["judged_ndcg@10", "ndcg@10"]})
    said = project.stages(*TO_TRAIN, *TO_EVALUATE, *AFTER, *HANDED_OVER).said
    data = project.metrics("data")
    assert (data["judgments"], data["judgment_min"], data["judgment_max"], data["split_by"]) == (750, 0, 1, "question")
    assert "convert: 750 judgments from 0 to 1, of which" in said
    assert project.metrics("mining/finetuned")["pairs"] == data["train_judgments"]
    training = project.metrics("training/finetuned")
    assert training["pairs"] == data["train_judgments"] and {"score_scale", "score_bias"} <= training.keys()
    judged = project.metrics("comparison")["judged_ndcg@10"]
    assert judged["gain"] > 3 * judged["gain_standard_error"]
    assert judged["finetuned"] > judged["bm25"]
    tuned, base = project.metrics("finetuned"), project.metrics("base")
    assert tuned["spearman"] > base["spearman"] + 0.2
    assert tuned["fitted_weighted_mse"] < base["fitted_weighted_mse"]
    assert {"dev_judged_ndcg@10", "dev_pearson", "mse", "weighted_mse"} <= tuned.keys()
    assert (project.root / "metrics" / "report.html").stat().st_size > 10_000
