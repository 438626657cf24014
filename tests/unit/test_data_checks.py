"""Parameters against data and model: what cannot work is refused, what may harm is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embedtune.config.data_checks import Facts, refuse_what_cannot_work, warnings
from embedtune.config.reading import load_params
from embedtune.config.recipe import filled, train_settings
from embedtune.core.errors import ParameterError, Problems
from embedtune.retrieval.indexes import check_factory
from embedtune.training.teacher import flatness, refuse_flat_targets
from tests.unit.parameters import edited

ENOUGH = Facts(
    train=1000,
    dev=200,
    evaluated=400,
    passages=5000,
    scored=True,
    judged=True,
    normalize=True,
    dimension=128,
    max_tokens=512,
)
PATH = Path("params.yaml")


def complaints(tmp_path: Path, facts: Facts, **edits: str) -> str:
    params = load_params(edited(tmp_path / "params.yaml", {k.replace("__", "."): v for k, v in edits.items()}))
    problems = Problems()
    values = filled(train_settings(params, facts.train, normalize=True))
    refuse_what_cannot_work(params, values, facts, PATH, problems)
    return problems.text()


def told(tmp_path: Path, facts: Facts, **edits: str) -> str:
    params = load_params(edited(tmp_path / "params.yaml", {k.replace("__", "."): v for k, v in edits.items()}))
    return "\n".join(warnings(params, filled(train_settings(params, facts.train, normalize=True)), facts, PATH))


def test_the_sample_is_right_and_gives_no_warning(tmp_path: Path) -> None:
    assert complaints(tmp_path, ENOUGH) == told(tmp_path, ENOUGH) == ""


@pytest.mark.parametrize(
    ("facts", "edits", "message"),
    [
        (
            replace(ENOUGH, train=40),
            {"train__per_device_train_batch_size": "64"},
            "train.per_device_train_batch_size: 64 is more than the 40 training questions",
        ),
        (
            ENOUGH,
            {"train__per_device_train_batch_size": "1001"},
            "train.per_device_train_batch_size: 1001 is more than the 1000 training questions",
        ),
        (replace(ENOUGH, max_tokens=50), {}, "train.query_max_len: expected at most 50, the longest text"),
        (ENOUGH, {"train__matryoshka_dims": "[64, 256]"}, "train.matryoshka_dims: expected at most 128"),
        (replace(ENOUGH, dev=0), {}, "train.eval_strategy: steps needs dev questions, and there are none"),
        (
            replace(ENOUGH, scored=False),
            {"rounds__finetuned__teacher": "dataset", "mine__source": "dataset"},
            "rounds.finetuned.teacher: dataset needs a teacher's scores of every passage",
        ),
        (
            ENOUGH,
            {"rounds__finetuned__teacher": "dataset"},
            "rounds.finetuned.teacher: dataset needs a teacher's scores",
        ),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, facts: Facts, edits: dict[str, str], message: str) -> None:
    assert f"params.yaml: {message}" in complaints(tmp_path, facts, **edits)


def test_a_small_incomplete_batch_may_be_all_there_is(tmp_path: Path) -> None:
    few = replace(ENOUGH, train=40)
    assert complaints(tmp_path, few, train__dataloader_drop_last="false") == ""
    assert complaints(tmp_path, few, model__name="local") == "", "the recipe's batch is smaller"


def test_a_high_learning_rate_for_a_pretrained_model_is_told(tmp_path: Path) -> None:
    text = told(tmp_path, ENOUGH, model__name="local", train__learning_rate="2e-3")
    assert text.startswith("params.yaml: train.learning_rate: 0.002 is high for all weights of a pretrained model")
    assert not told(tmp_path, ENOUGH, model__name="local", train__learning_rate="2e-3", train__method="lora")
    assert not told(tmp_path, ENOUGH, train__learning_rate="2e-3"), "the sample's model is not pretrained"


def test_what_few_questions_cannot_show_is_told(tmp_path: Path) -> None:
    """Of n questions none of which loses, a loss of 1 - .05 ** (1 / n) is possible: .049 of 60; .01 takes 299."""
    text = told(tmp_path, replace(ENOUGH, evaluated=60))
    assert "gate.recall@10: of 60 test questions none of which loses, a loss of 0.049 is still possible" in text
    assert "takes 299 questions" in text
    assert told(tmp_path, replace(ENOUGH, evaluated=299)) == ""
    assert "gate" in told(tmp_path, replace(ENOUGH, evaluated=298))
    assert "12 dev questions choose the checkpoint" in told(tmp_path, replace(ENOUGH, dev=12))


@pytest.mark.parametrize(
    ("factory", "search", "rows", "message"),
    [
        ("IVF64,Flat", "nprobe=4", 63, "IVF64,Flat is trained on 64 passages at least, and there are 63"),
        ("PQ16", "", 255, "PQ16 is trained on 256 passages at least"),
        ("IVF16,PQ16x4", "", 15, "trained on 16 passages"),
        ("NoSuchIndex", "", 10, "FAISS refuses 'NoSuchIndex'"),
        ("PQ7", "", 1000, "FAISS refuses 'PQ7'"),
        ("HNSW32", "nprobe=4", 10, "FAISS refuses 'nprobe=4'"),
    ],
)
def test_an_index_that_faiss_would_refuse_later_is_refused(factory: str, search: str, rows: int, message: str) -> None:
    with pytest.raises(ParameterError, match=r"(factory|index_search)") as caught:
        check_factory(factory, search, 128, rows)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("factory", "search"), [("Flat", ""), ("IVF64,Flat", "nprobe=4"), ("HNSW32", ""), ("PQ16", "")]
)
def test_an_index_that_faiss_takes_passes(factory: str, search: str) -> None:
    check_factory(factory, search, 128, 256)


def test_probabilities_that_are_read_as_logits_are_refused() -> None:
    """A positive at .99 and seven at .01 become .28 and .10; their logits become .999 and less."""
    probabilities = [[0.99] + [0.01] * 7] * 5
    with pytest.raises(ParameterError, match=r"teacher_temperature: with 1 .*nearly flat.*better give logits"):
        refuse_flat_targets(probabilities, 1.0)
    refuse_flat_targets(probabilities, 0.1)
    refuse_flat_targets([[4.6] + [-4.6] * 7] * 5, 1.0)
    assert flatness([[3.0, 3.0], [1.0]], 1.0) == pytest.approx(1.0)
    assert flatness([[100.0, 0.0, 0.0]], 1.0) == pytest.approx(0.0)
