"""Scored pairs through the stages: what is learned, what is measured, and a report of it all."""

import json
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


RERANKED = {
    "from": "finetuned", "model": "none", "path": "models/none", "revision": "main", "candidates": "bm25", "depth": 20,
    "passages": 1, "rows": "judged", "objective": "pairwise",
}  # fmt: skip


def test_a_reranker_is_trained_measured_and_released(tmp_path: Path) -> None:
    """It learns nothing much here; each stage hands on what the next one needs, to a release that answers."""
    project = checkout(tmp_path)
    project.edit(dataset=SCORED, mine={"positive_passage": "first", "negatives": 0}, evaluate={"depth": 2000})
    project.edit(train={"objective": "weighted_mse", "eval_strategy": "epoch", "num_train_epochs": 1})
    project.edit(rerankers={"reranked": RERANKED}, systems=["bm25", "reranked"], fusions=None, gate=None)
    project.edit(release={"system": "reranked", "baseline": "bm25"}, compare={"measures": ["judged_ndcg@10"]})
    project.edit(rerank={"num_train_epochs": 1, "eval_steps": 2})
    reranker = [f"{stage} reranked" for stage in ("reranker_base", "mine_reranker", "train_reranker", "rerank")]
    project.stages(*TO_TRAIN, *TO_EVALUATE, "lexical", *reranker)
    assert {"dev_ndcg@10_of_candidates", "dev_pool_ndcg@10"} <= project.metrics("training/reranked").keys()
    choice = project.root / "metrics" / "choice.json"
    project.stages(*AFTER[1:])
    choice.write_text(choice.read_text().replace('"chosen": "bm25"', '"chosen": "reranked"'))
    project.stages("calibrate", *HANDED_OVER)
    system = json.loads((project.root / "models/release/system.json").read_text())
    assert (system["kind"], system["candidates"]["kind"], system["dense"]["kind"]) == ("reranked", "lexical", "dense")
    assert (project.root / "models" / "release" / "reranker" / "config.json").is_file()
    assert "CrossEncoder" in (project.root / "models" / "release" / "README.md").read_text()
    ranked = json.loads(project.run("embedtune", "rank", "--json", "--depth", "3", "哪里有书院？").stdout)
    assert [row["score"] for row in ranked] == sorted((row["score"] for row in ranked), reverse=True)
