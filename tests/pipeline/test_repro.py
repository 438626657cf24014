"""`dvc repro`: what runs after which change, and that a run can be repeated."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project

pytestmark = pytest.mark.slow

OF_BASE = {"base_model", "convert", "dev_pool", "download", "encode@base", "evaluate@base", "mine", "segment"}
OF_FINETUNED = {"train", "encode@finetuned", "evaluate@finetuned", "compare"}


def test_a_first_run_runs_every_stage_and_a_second_none(finished: Project) -> None:
    assert finished.repro() == set()
    listed = finished.run("dvc", "stage", "list", "--name-only").stdout.split()
    assert set(listed) == OF_BASE | OF_FINETUNED
    assert finished.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    assert finished.run("git", "status", "--porcelain").stdout == ""


def test_new_cutoffs_run_evaluation_and_comparison_only(project: Project) -> None:
    project.edit(evaluate={"cutoffs": [1, 7]})
    assert project.repro() == {"evaluate@base", "evaluate@finetuned", "compare"}
    assert {"recall@7", "ndcg@7", "mrr@7"} < set(project.metrics("finetuned"))
    assert "recall@10" not in project.metrics("finetuned")


def test_a_new_seed_of_mining_keeps_the_base_models_vectors(project: Project) -> None:
    project.edit(mine={"seed": 7})
    assert project.repro() == {"mine"} | OF_FINETUNED


def test_a_new_learning_rate_mines_and_encodes_the_base_model_no_more_and_dvc_shows_what_it_did(
    project: Project,
) -> None:
    project.edit(train={"learning_rate": "1e-3"})
    assert project.repro() == OF_FINETUNED
    changed = project.run("dvc", "params", "diff").stdout
    assert "train.learning_rate" in changed
    difference = project.run("dvc", "metrics", "diff").stdout
    assert "comparison.json" in difference
    assert "recall@10.finetuned" in difference
    project.run("dvc", "plots", "diff", "--out", "dvc_plots")
    page = (project.root / "dvc_plots" / "index.html").read_text()
    assert "Training loss" in page
    assert "Recall by cutoff" in page


def test_an_experiment_takes_a_number_in_exponent_notation(project: Project) -> None:
    project.run("dvc", "exp", "run", "-n", "slower", "-S", "train.learning_rate=1e-5", "-S", "train.logging_steps=2")
    table = project.run("dvc", "exp", "show", "--csv", "--no-pager").stdout
    assert "slower" in table
    assert "learning_rate: '1e-05'" in (project.root / "params.yaml").read_text() or "1e-05" in table


def test_a_clone_with_a_lock_file_but_no_data_runs_and_gives_equal_bytes(finished: Project, tmp_path: Path) -> None:
    finished.run("git", "clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    # `compare` writes nothing but a file that git brought along, and its inputs come out as they were
    assert clone.repro() == OF_BASE | OF_FINETUNED - {"compare"}
    assert clone.run("git", "status", "--porcelain").stdout == ""  # every metrics file has the bytes that git has
    assert len(list((clone.root / "metrics").rglob("*.*"))) >= 9
    for result in ("data/mined/train.jsonl", "data/runs/finetuned.trec"):
        assert (clone.root / result).read_bytes() == (finished.root / result).read_bytes(), result


def test_the_table_is_printed_at_the_end(project: Project) -> None:
    project.edit(evaluate={"cutoffs": [10]})
    printed = project.run("dvc", "repro").stdout
    assert "recall@10" in printed
    assert "finetuned" in printed
    shutil.rmtree(project.root / "logs")
    shown = project.run("python", "-m", "stages.compare", "--show").stdout
    assert shown.splitlines()[0] == "base and fine-tuned model (metrics/comparison.json)"
    assert shown in printed
