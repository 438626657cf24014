"""The whole pipeline in fresh clones of HEAD: minutes, metrics, the control, and what a second `dvc repro` costs.

    python -m benchmarks.pipeline              writes results/pipeline.json
    python -m benchmarks.pipeline laws         adds the run on STARD's law questions to it

Runs: the shipped params.yaml; the same with training questions re-paired at random (nothing to learn); with `laws`,
STARD's questions with the sample model, from ../shared/data/stard-laws. A second `dvc repro` of the first run is
timed against the same DAG of stages that do nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import RESULTS, read_result, write_result

ROOT = Path(__file__).parents[1]
LAWS = ROOT.parent / "shared" / "data" / "stard-laws"
LAW_PARAMETERS = {
    "dataset": {"source": "local", "path": str(LAWS)},
    "segment": {"max_tokens": 128},
    "train": {"passage_max_len": 128},
}
ROUNDS = 5
SHOWN = ("recall@10", "ndcg@10")


def clone(target: Path, changes: dict[str, dict[str, Any]]) -> Path:
    """HEAD in a fresh clone, with parameters changed."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
    change_params(target, changes)
    return target


def change_params(project: Path, changes: dict[str, dict[str, Any]]) -> None:
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for section, values in changes.items():
        params[section] |= values
    path.write_text(yaml.safe_dump(params, allow_unicode=True))


def repro(project: Path) -> float:
    """Seconds that `dvc repro` takes there."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    started = time.perf_counter()
    done = subprocess.run(
        ["dvc", "repro"], cwd=project, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"dvc repro failed in {project}:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def repro_with(project: Path, changes: dict[str, dict[str, Any]]) -> None:
    """`dvc repro` with parameters changed for this once."""
    path = project / "params.yaml"
    before = path.read_text()
    change_params(project, changes)
    repro(project)
    path.write_text(before)


def measure_ways(
    name: str, ways: dict[str, Any], measure: Callable[[Path, Any], dict[str, Any]], arguments: list[str]
) -> None:
    """Measure each of `ways` in one clone and write results/<name>.json after each; `arguments` are the program's.

    They begin with `laws` for STARD's law questions instead of the sample; what follows names the ways to measure,
    beside what the file has; none: all.
    """
    laws = arguments[:1] == ["laws"]
    chosen = arguments[1:] if laws else arguments
    keep = (laws or chosen) and (RESULTS / f"{name}.json").exists()
    results = read_result(name)["results"] if keep else {}
    data = "stard-laws" if laws else "sample"
    with tempfile.TemporaryDirectory() as scratch:
        project = clone(Path(scratch) / "project", LAW_PARAMETERS if laws else {})
        results[data] = results.get(data, {}) if chosen else {}
        for way in chosen or ways:
            results[data][way] = measure(project, ways[way])
            print(f"{data}, {way}: {results[data][way]}", file=sys.stderr, flush=True)
            write_result(name, {"results": results})


def run(name: str, target: Path, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One whole run: minutes, base and fine-tuned measures, gain and its standard error."""
    seconds = repro(clone(target, changes))
    comparison = json.loads((target / "metrics" / "comparison.json").read_text())
    data = json.loads((target / "metrics" / "data.json").read_text())
    mining = json.loads((target / "metrics" / "mining" / "finetuned.json").read_text())
    result = {
        "minutes": round(seconds / 60, 2),
        "documents": data["documents"],
        "test_queries": data["test_queries"],
        "positive_right_share": mining.get("positive_right_share"),
        **{measure: comparison[measure] for measure in SHOWN},
    }
    print(f"{name}: {result}", file=sys.stderr, flush=True)
    return result


def empty_dag(project: Path, target: Path) -> Path:
    """The same DAG, code and parameters, of stages that only write a byte where they should write outputs."""
    shutil.copytree(project, target, ignore=shutil.ignore_patterns(".git", "cache", "tmp", "data", "models", "*.lock"))
    for given in ("data/local", "data/general", "models/local", "models/none"):
        shutil.copytree(project / given, target / given)
    subprocess.run(["git", "init", "--quiet"], cwd=target, check=True)
    dag = yaml.safe_load((target / "dvc.yaml").read_text())
    inside = [
        dep.replace("${item.from}", item)
        for stage in dag["stages"].values()
        for dep in stage.get("do", stage)["deps"]
        for item in ("base", "finetuned")
    ]
    for stage in dag["stages"].values():
        body = stage.get("do", stage)
        outs = [
            out if isinstance(out, str) else next(iter(out))
            for key in ("outs", "metrics", "plots")
            for out in body.get(key, [])
        ]
        commands = []
        for out in outs:
            nested = sorted({dep for dep in inside if dep.startswith(out + "/")})
            commands += [f"mkdir -p $(dirname {path}) && echo '{{}}' > {path}" for path in nested or [out]]
        body["cmd"] = commands
    (target / "dvc.yaml").write_text(yaml.safe_dump(dag))
    repro(target)
    return target


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if sys.argv[1:] == ["laws"]:
            result = read_result("pipeline")
            result["runs"]["stard-laws"] = run("stard-laws", folder / "laws", LAW_PARAMETERS)
            write_result("pipeline", {key: result[key] for key in ("runs", "second_repro_seconds", "rounds")})
            return
        runs = {"sample": run("sample", folder / "sample", {})}
        control = {"dataset": {"shuffle_train_questions": True}}
        runs["sample, questions re-paired at random"] = run("control", folder / "control", control)
        empty = empty_dag(folder / "sample", folder / "empty")
        seconds: dict[str, list[float]] = {"pipeline": [], "empty_stages": []}
        for _ in range(ROUNDS):
            seconds["pipeline"].append(repro(folder / "sample"))
            seconds["empty_stages"].append(repro(empty))
        second_run = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    runs = read_result("pipeline")["runs"] | runs  # the law questions' row stays, and its place in the table
    write_result("pipeline", {"runs": runs, "second_repro_seconds": second_run, "rounds": ROUNDS})


if __name__ == "__main__":
    main()
