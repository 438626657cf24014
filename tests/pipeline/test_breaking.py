"""What goes wrong is said in one message with exit code 1, and nothing half-written is taken for whole."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import Project

pytestmark = pytest.mark.slow


def stage_error(project: Project, stage: str, *arguments: str) -> str:
    """The message of a stage that must fail with exit code 1 and without a traceback."""
    done = project.stages(" ".join((stage, *arguments)), check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.said
    return done.said[done.said.index("error: ") :].rstrip("\n")


def use_local(project: Project, layout: str, path: Path) -> None:
    project.edit(dataset={"source": "local", "format": layout, "path": str(path)})


def test_a_wrong_parameter_stops_the_pipeline_with_one_message(project: Project) -> None:
    project.edit(mine={"hard_share": 70})
    done = project.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert (
        "error: params.yaml: mine.hard_share: expected a number from 0 to 1, got 70; for 70 % write 0.7" in done.stderr
    )
    assert "Traceback" not in done.stderr
    project.edit(mine={"hard_share": 0.7})
    assert project.repro("mine@finetuned") == set()


def test_bad_rows_are_listed_and_nothing_is_written(project: Project, tmp_path: Path) -> None:
    data = tmp_path / "pairs"
    data.mkdir()
    rows = [json.dumps({"query": f"问题{i}", "pos_doc": f"答案{i}"}, ensure_ascii=False) for i in range(20)]
    bad = ["{", '{"query": "甲"}', '{"query": " ", "pos_doc": "乙"}', '{"query": "丙", "pos_doc": 3}']
    (data / "train.jsonl").write_text("\n".join(rows + bad) + "\n")
    use_local(project, "pairs", data)
    project.stages("download")
    assert (project.root / "data/skipped.jsonl").read_bytes() == b"\n", "no row, and no file that DVC warns of as empty"
    before = (project.root / "data/corpus.jsonl").read_bytes()
    error = stage_error(project, "convert")
    assert error.splitlines()[1:] == [
        f"{data}/train.jsonl:22: 'pos_doc' is missing",
        f"{data}/train.jsonl:23: 'query' is empty",
        f"{data}/train.jsonl:24: 'pos_doc' is not a text",
        "mend these rows, or write `dataset.on_bad_row: skip` to set them aside",
    ]
    assert error.startswith(f"error: {data}/train.jsonl:21: not valid JSON (")
    assert (project.root / "data/corpus.jsonl").read_bytes() == before
    project.edit(dataset={"on_bad_row": "skip"})
    project.stages("convert")
    assert project.metrics("data")["rows_skipped"] == len(bad)
    aside = [json.loads(line) for line in (project.root / "data/skipped.jsonl").read_text().splitlines()]
    assert [row["row"] for row in aside] == bad


def test_a_directory_in_the_wrong_format_is_named(project: Project, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("x")
    use_local(project, "beir", tmp_path / "data")
    project.stages("download")
    assert stage_error(project, "convert") == (
        f"error: {tmp_path}/data: `dataset.format: beir` needs corpus.jsonl, queries.jsonl (plain or .gz) and "
        "qrels/train.tsv; found notes.txt; check `dataset.path` and `dataset.format`"
    )


def test_a_missing_path_is_named(project: Project) -> None:
    use_local(project, "pairs", Path("nowhere"))
    message = "error: params.yaml: dataset.path: nowhere does not exist; give a directory or a file"
    assert stage_error(project, "download") == message
    assert project.run("python", "-m", "embedtune", "check", check=False).stderr == message + "\n"
    assert (project.root / "data/raw").is_dir()


def test_a_gzip_file_cut_short_is_named(project: Project, tmp_path: Path) -> None:
    rows = "".join(json.dumps({"query": f"问题{i}", "pos_doc": f"答案{i}" * 50}) + "\n" for i in range(200))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl.gz").write_bytes(gzip.compress(rows.encode())[:-200])
    use_local(project, "pairs", tmp_path / "data")
    project.stages("download")
    error = stage_error(project, "convert")
    assert error.startswith(f"error: {tmp_path}/data/train.jsonl.gz:")
    assert "broken gzip stream" in error


def test_no_network_is_named(project: Project) -> None:
    project.edit(dataset={"source": "mldr"})
    done = project.run("python", "-m", "stages.download", check=False)
    assert done.returncode == 1 and "HF_HUB_OFFLINE" in done.stderr and "Traceback" not in done.stderr


def test_too_many_tokens_for_the_model_are_refused(project: Project) -> None:
    project.edit(segment={"max_tokens": 1024})
    assert stage_error(project, "segment") == (
        "error: params.yaml: segment.max_tokens: expected at most 512, the longest text the model reads, got 1024"
    )


def test_a_stage_killed_in_its_middle_is_run_again(project: Project) -> None:
    project.edit(train={"num_train_epochs": 30})
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    dvc = subprocess.Popen(
        ["dvc", "repro"], cwd=project.root, env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    partial = project.root / "models" / ".finetuned.partial"
    deadline = time.monotonic() + 60
    while not partial.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert partial.exists()
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    # the training that dvc started goes on: a second one is kept out rather than run beside it
    refused = stage_error(project, "train", "finetuned")
    assert refused.startswith("error: models/finetuned: process ")
    assert "is still writing it" in refused
    os.killpg(dvc.pid, signal.SIGKILL)
    time.sleep(0.5)
    assert not (project.root / "models" / "finetuned").exists()
    project.edit(train={"num_train_epochs": 3})
    assert project.repro("train@finetuned") == {"check", "train@finetuned"}
    assert not partial.exists()
    assert project.metrics("training/finetuned")["steps"] == 18
