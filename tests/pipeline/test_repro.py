"""`dvc repro`: what runs after which change, and that a run can be repeated."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project

pytestmark = pytest.mark.slow

OF_BASE = {
    "base_model",
    "check",
    "convert",
    "dev_pool",
    "download",
    "encode_base@base",
    "evaluate_base@base",
    "lexical",
    "mine@finetuned",
}
OF_BASE |= {"general_data", "index_base@base", "segment", "slices"}
FUSIONS = {"fuse@hybrid_ranks", "fuse@hybrid_scores"}
OF_RESULTS = {"calibrate", "choose", "compare", "forgetting", "gate", "release", "report"}
OF_FINETUNED = {"train@finetuned", "encode@finetuned", "index@finetuned", "evaluate@finetuned"} | FUSIONS | OF_RESULTS
RESULTS = ("choose", "gate", "compare", "calibrate", "forgetting", "release", "report")


def test_a_first_run_runs_every_stage_and_a_second_none(finished: Project) -> None:
    assert finished.repro() == set()
    listed = finished.run("dvc", "stage", "list", "--name-only").stdout.split()
    assert set(listed) == OF_BASE | OF_FINETUNED
    assert finished.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
    assert finished.run("git", "status", "--porcelain").stdout == ""


def test_new_cutoffs_mine_train_and_encode_nothing_anew(project: Project) -> None:
    project.edit(evaluate={"cutoffs": [1, 7]}, compare={"measures": None}, gate=None)
    stages = {"evaluate_base@base", "evaluate@finetuned", "lexical"} | FUSIONS
    assert project.stale() == stages | OF_RESULTS
    project.stages(
        "evaluate base", "evaluate finetuned", "lexical", "fuse hybrid_ranks", "fuse hybrid_scores", "compare"
    )
    assert {"recall@7", "ndcg@7", "mrr@7"} < set(project.metrics("finetuned"))
    assert "recall@10" not in project.metrics("finetuned")
    assert set(project.metrics("comparison")["pairs"]["finetuned_over_base"]) == {
        measure for measure in project.metrics("bm25") if not measure.startswith("dev_")
    }


def test_a_new_seed_of_mining_keeps_the_base_models_vectors(project: Project) -> None:
    project.edit(mine={"seed": 7})
    assert project.stale() == {"mine@finetuned"} | OF_FINETUNED
    mined = project.root / "data" / "mined" / "finetuned.jsonl"
    before = mined.read_bytes()
    project.stages("mine finetuned")
    assert mined.read_bytes() != before


def test_a_second_round_mines_with_the_model_just_trained_and_the_first_stays(project: Project) -> None:
    project.edit(
        rounds={"round2": {"from": "finetuned", "teacher": "none"}},
        systems=["base", "finetuned", "round2", "bm25"],
        release={"system": "round2"},
    )
    steps = {"mine", "train", "encode", "index", "evaluate"}
    assert project.stale() == {f"{step}@round2" for step in steps} | OF_RESULTS
    of_round = (f"{step} round2" for step in ("mine", "train", "encode", "index", "evaluate"))
    project.stages(*of_round, *RESULTS)
    rounds = project.metrics("rounds")
    assert 0 < rounds["round2"]["negatives_kept"] < 0.9
    assert 0 < rounds["round2"]["top10_kept"] < 1
    compared = project.metrics("comparison")
    assert set(compared["recall@10"]) == {"base", "finetuned", "round2", "bm25", "gain", "gain_standard_error"}
    over_base = {f"{name}_over_base" for name in ("finetuned", "round2", "bm25")}
    assert set(compared["pairs"]) == over_base | {"round2_over_finetuned", "round2_over_bm25"}
    assert project.metrics("mining/round2")["questions"] == 96


def test_a_new_learning_rate_mines_and_encodes_the_base_model_no_more_and_dvc_shows_what_it_did(
    project: Project,
) -> None:
    project.edit(train={"learning_rate": "1e-3"})
    assert project.stale() == OF_FINETUNED
    steps = ("train", "encode", "index", "evaluate")
    ran = project.repro("evaluate@finetuned")
    assert ran == {"check"} | {f"{step}@finetuned" for step in steps}
    changed = project.run("dvc", "params", "diff").stdout
    assert "train.learning_rate" in changed
    project.stages("fuse hybrid_ranks", "fuse hybrid_scores", *RESULTS)
    difference = project.run("dvc", "metrics", "diff", "--targets", "metrics/summary.json").stdout.splitlines()
    assert {"dev_ndcg@10", "ndcg@10", "gain_low"} <= {line.split()[1] for line in difference[1:]}
    assert len(difference) <= 12
    whole = project.run("dvc", "metrics", "diff").stdout.splitlines()
    shown = {line.split()[0] for line in whole[1:]}
    assert shown <= {"metrics/summary.json", "metrics/training/finetuned.json"} | {
        f"metrics/{name}.json" for name in ("finetuned", "hybrid_ranks", "hybrid_scores")
    }
    project.run("dvc", "plots", "diff", "--out", "dvc_plots")
    page = (project.root / "dvc_plots" / "index.html").read_text()
    assert "Training loss" in page
    assert "Recall by cutoff" in page


def test_an_experiment_takes_a_number_in_exponent_notation(project: Project) -> None:
    settings = ("-S", "train.learning_rate=1e-5", "-S", "train.logging_steps=2")
    project.run("dvc", "exp", "run", "-n", "slower", *settings, "train@finetuned")
    table = project.run("dvc", "exp", "show", "--csv", "--no-pager").stdout
    assert "slower" in table
    assert "learning_rate: '1e-05'" in (project.root / "params.yaml").read_text() or "1e-05" in table


def test_a_clone_with_a_lock_file_but_no_data_runs_and_gives_equal_bytes(finished: Project, tmp_path: Path) -> None:
    finished.run("git", "clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    assert clone.stale() == OF_BASE | OF_FINETUNED
    clone.stages(*(stage.replace("_base@", " ").replace("@", " ") for stage in in_order(clone)))
    status = clone.run("dvc", "status").stdout.splitlines()
    found = {line.partition(":")[0].strip() for line in status if line.startswith("\t\t")}
    assert found == {"not in cache"}, "every output has the checksum that dvc.lock has"
    assert clone.run("git", "status", "--porcelain").stdout == ""  # every metrics file has the bytes that git has
    assert len(list((clone.root / "metrics").rglob("*.*"))) >= 9
    for result in ("data/mined/finetuned.jsonl", "data/runs/finetuned/run.trec", "data/runs/hybrid_scores/run.trec"):
        assert (clone.root / result).read_bytes() == (finished.root / result).read_bytes(), result


def in_order(project: Project) -> list[str]:
    """All stages, each after those that it depends on."""
    dry = project.run("dvc", "repro", "--dry", "--force", "--allow-missing").stdout
    return [line.split("'")[1] for line in dry.splitlines() if line.startswith("Running stage")]


def test_the_table_the_choice_and_the_verdict_are_printed_at_the_end(project: Project) -> None:
    printed = project.run("python", "-m", "stages.report").stdout.splitlines()
    assert printed[0] == "test (metrics/comparison.json)"
    assert {"base", "finetuned", "bm25", "hybrid_ranks", "hybrid_scores"} < set(printed[1].split())
    assert any(line.startswith("recall@10") for line in printed)
    choice = project.metrics("gate")["choice"]
    assert choice in printed
    assert printed[printed.index(choice) + 1].startswith("On 60 test questions, ")
    assert any(line.startswith("gate: ") for line in printed[printed.index(choice) :])


def test_what_a_removed_round_left_changes_no_verdict(project: Project) -> None:
    """Its folder in data/runs stays. The gate and the choice do not depend on it."""
    shutil.copytree(project.root / "data" / "runs" / "finetuned", project.root / "data" / "runs" / "round9")
    stale = project.stale()
    assert "compare" in stale, "the table depends on the folder"
    assert not stale & {"choose", "gate", "calibrate", "forgetting"}
    before = {name: project.metrics(name) for name in ("choice", "gate", "comparison")}
    project.stages("choose", "gate", "compare")
    assert {name: project.metrics(name) for name in before} == before
