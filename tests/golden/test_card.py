"""The model's card: read by huggingface_hub, its code run as it stands, what it says of calibration."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from embedtune.comparison.card import Facts, Results, card
from embedtune.models.encode import load_backbone
from embedtune.models.settings import Settings, read_settings, write_settings
from tests.loopback_hub import card_problem

FACTS = Facts(
    path="models/release",
    system="finetuned",
    baseline="base",
    chosen="finetuned",
    choice="finetuned is released: it is better than base on dev.",
    base_model="BAAI/bge-base-zh-v1.5",
    base_revision="abc",
    data="Shitao/MLDR",
    repository="Shitao/MLDR",
    language="zh",
    revision="d67",
    split="test",
    confidence=0.995,
    origin="Trained in one round (full training, 3 epochs).",
    params={"train": {"learning_rate": 2e-5}, "model": {"query_instruction": "为这个句子"}},
)
FOUND = Results(
    data={"train_queries": 10_000, "documents": 200_000, "test_queries": 800},
    baseline={"recall@10": 0.1862, "ndcg@10": 0.1395},
    system={"recall@10": 0.2338, "ndcg@10": 0.1705},
    intervals={m: {"low": 0.1, "high": 0.3} for m in ("recall@10", "ndcg@10")},
    gains={m: {"difference": 0.031, "low": 0.02, "high": 0.04} for m in ("recall@10", "ndcg@10")},
    findings=[
        "On these questions, tuned is better.",
        "bm25 is better than finetuned, which is released.",
    ],
    calibration={"dev_questions": 200, "threshold": 0.81, "precision_wanted": 0.9, "precision_on_dev": 0.934}
    | {"best_passages": 1, "method": "platt", "scale": 9.0, "shift": -7.0},
    calibrated={"questions": 800, "expected_calibration_error": 0.03, "answered": 0.4, "precision": 0.88},
)

DENSE = {"kind": "dense"}
LEARNED = {"dev_questions": 99, "method": "isotonic", "best_passages": 1} | {
    "precision_wanted": 0.9,
    "precision_on_dev": 0.934,
}


def test_the_hub_reads_the_metadata(base: Path) -> None:
    text = card(FACTS, DENSE, read_settings(base), FOUND)
    assert card_problem(text) == ""
    data = ModelCard(text).data
    assert (data.language, data.base_model, data.datasets) == ("zh", "BAAI/bge-base-zh-v1.5", ["Shitao/MLDR"])
    found = {result.metric_type: result for result in data.eval_results}
    assert found["ndcg@10"].metric_value == 0.1705
    assert (found["ndcg@10"].dataset_type, found["ndcg@10"].dataset_split) == ("Shitao/MLDR", "test")
    assert (found["ndcg@10"].dataset_config, found["ndcg@10"].dataset_revision) == ("zh", "d67")


def test_the_text_says_what_was_measured_and_how_it_was_made(base: Path) -> None:
    text = card(FACTS, DENSE, read_settings(base), FOUND)
    for said in (
        "# embedtune-bge-base-zh-v1.5\n\nfinetuned is released: it is better than base on dev.\n",
        "10,000 training questions, 200,000 documents. Trained in one round (full training, 3 epochs).",
        "| measure | base | finetuned (99.5 % interval) | gain (99.5 % interval) |",
        "| ndcg@10 | 0.1395 | 0.1705 (0.100 to 0.300) | +0.0310 (+0.0200 to +0.0400) |",
        "(commit `abc`)",
        "questions\n\nOn these questions, tuned is better.\n\nbm25 is better than finetuned, which is released.",
        "  query_instruction: 为这个句子",
        "1 / (1 + exp(-(`scale` * score + `shift`)))",
        "by its score (its best passage's inner product with the question)",
        "On 800 test questions its expected calibration error is 0.030.",
        "score 0.8100 or more were right in 93 % of cases on dev (at least 90 % was asked for); on test, 40 % of "
        "questions had one, and 88 %",
    ):
        assert said in text


def test_of_data_and_models_of_ones_own_nothing_is_linked(base: Path) -> None:
    own = replace(FACTS, base_model="sample", base_revision=None, data="local data", repository=None, language=None)
    data = ModelCard(card(replace(own, revision=None), DENSE, read_settings(base), FOUND)).data
    assert (data.base_model, data.datasets, data.language) == (None, None, None)
    assert data.eval_results[0].dataset_type == "local data"


@pytest.mark.parametrize(
    ("calibration", "calibrated", "said"),
    [
        ({"dev_questions": 12, "threshold": None}, {}, "12 dev questions were too few to learn it."),
        (
            LEARNED | {"threshold": None},
            {"questions": 9, "expected_calibration_error": 0.1},
            "No score gave a precision of 90 % on dev.",
        ),
        (
            LEARNED | {"threshold": 0.9},
            {"questions": 9, "expected_calibration_error": 0.1, "answered": 0.0, "precision": None},
            "0 % of questions had one, and none was answered.",
        ),
        (
            LEARNED | {"threshold": 0.9, "flat": "of 99 dev questions all had a right first document"},
            {"questions": 0},
            "It is the same for every score, since of 99 dev questions all had a right first document.",
        ),
        (LEARNED | {"threshold": 0.9}, {"questions": 0}, "93 % of cases on dev (at least 90 % was asked for)."),
        (
            LEARNED | {"threshold": 0.9, "best_passages": 3},
            {"questions": 0},
            "by its score (the mean of its 3 best passages' inner product with the question)",
        ),
    ],
)
def test_what_could_not_be_learned_is_said(
    base: Path, calibration: dict[str, Any], calibrated: dict[str, Any], said: str
) -> None:
    found = replace(FOUND, calibration=calibration, calibrated=calibrated)
    assert said in card(FACTS, DENSE, read_settings(base), found)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_both_snippets_give_the_same_vectors_with_instructions(pooling: str, base: Path, tmp_path: Path) -> None:
    """Run as a user would: the code blocks, on texts of one's own."""
    settings = Settings(pooling, True, "查询：", "段落：", read_settings(base).max_tokens)
    released = tmp_path / "release"
    shutil.copytree(base, released)
    write_settings(released, settings, load_backbone(base, torch.float32, torch.device("cpu")).config.hidden_size)
    text = card(FACTS, DENSE, settings, FOUND)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    scores = []
    for block in blocks:
        code = block.replace("models/release", str(released)).replace('"..."', '"土地承包", "合同生效"')
        names: dict[str, Any] = {}
        exec(code, names)
        scores.append(np.asarray(names["scores"], dtype=np.float64))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


def test_where_the_baseline_is_released_its_figures_are_the_models(base: Path) -> None:
    kept = replace(FACTS, chosen="base", choice="base is released, since finetuned is worse on dev.")
    text = card(kept, DENSE, read_settings(base), FOUND)
    assert "\n\nbase is released, since finetuned is worse on dev.\n" in text
    found = {result.metric_type: result.metric_value for result in ModelCard(text).data.eval_results}
    assert found == {"recall@10": 0.1862, "ndcg@10": 0.1395}


def test_of_a_system_that_is_more_than_its_model_the_card_says_how_to_rank(base: Path) -> None:
    fused = {"kind": "fused", "by": "scores", "weight": 0.85, "dense": DENSE}
    text = card(FACTS, fused, read_settings(base), FOUND)
    assert "scaled to 0 to 1; the model's weigh 0.85. `system.json` says how" in text and "SentenceTransformer" in text
    assert "fuses the ranks" in card(FACTS, fused | {"by": "ranks"}, read_settings(base), FOUND)
    words = card(replace(FACTS, chosen="bm25", origin=""), {"kind": "lexical"}, None, FOUND)
    assert "It is a search by words (BM25) and has no embedding model." in words and "```python" not in words
    assert card_problem(words) == ""


def test_a_decoder_is_loaded_as_one() -> None:
    settings = Settings("last_token", True, "Instruct: find\nQuery: ", "", 512)
    text = card(FACTS, DENSE, settings, FOUND)
    assert "from FlagEmbedding import FlagLLMModel" in text and "pooling_method" not in text
    assert r"query_instruction_for_retrieval='Instruct: find\nQuery: '" in text
    assert "query_instruction_format='{}{}'" in text
