"""dvc.yaml declares exactly what the stages read: their code, their parameters, their files."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedtune.config import RESERVED

ROOT = Path(__file__).parents[2]
# These check parameters, word messages and bars, ask DVC; they and what they import cannot change an output.
PLUMBING = {f"embedtune/{name}.py" for name in ("cli", "config", "config_errors", "errors", "freshness", "progress")}
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES: dict[str, dict[str, Any]] = {name: stage.get("do", stage) for name, stage in DVC["stages"].items()}


@cache
def imports(path: str) -> frozenset[str]:
    """The project's modules that a module imports, as paths."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "embedtune":
            for alias in node.names:
                candidates = [f"{node.module}.{alias.name}", str(node.module)]
                files = [name.replace(".", "/") + ".py" for name in candidates]
                found.add(next(file for file in files if (ROOT / file).is_file()))
    return frozenset(found)


def closure(path: str) -> set[str]:
    """The module and all it imports, directly or not."""
    seen: set[str] = set()
    todo = {path}
    while todo:
        seen |= todo
        todo = {imported for module in todo - PLUMBING for imported in imports(module)} - seen
    return seen


def parameters_read(stage: str) -> set[str]:
    """Key paths that a stage's code takes from `params`, such as `dataset.seed`."""
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text())
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    read = set()
    for node in ast.walk(tree):
        keys: list[str] = []
        while isinstance(node, ast.Attribute) and (keys or id(node) not in inner):
            keys.insert(0, node.attr)
            node = node.value
        if keys and isinstance(node, ast.Name) and node.id == "params":
            read.add(".".join(key for key in keys if not key.startswith("model_dump")))
    return read


def file_of(stage: str) -> str:
    """The file in stages/: encode_base and encode_mix run what encode@finetuned runs."""
    return stage.removesuffix("_base").removesuffix("_mix")


def test_stage_names_are_files() -> None:
    assert {file_of(stage) for stage in STAGES} == {path.stem for path in (ROOT / "stages").glob("[a-z]*.py")}


@pytest.mark.parametrize("stage", STAGES)
def test_code_dependencies_are_the_imports(stage: str) -> None:
    declared = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    assert declared == closure(f"stages/{file_of(stage)}.py") - PLUMBING


@pytest.mark.parametrize("stage", STAGES)
def test_parameters_declared_are_those_read(stage: str) -> None:
    declared = {key.removesuffix(".${key}") for key in STAGES[stage].get("params", [])}
    read = parameters_read(file_of(stage))
    undeclared = {key for key in read if not any(key == d or key.startswith(d + ".") for d in declared)}
    unread = {d for d in declared if not any(key == d or key.startswith(d + ".") for key in read)}
    assert (undeclared, unread) == (set(), set())


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_description(stage: str) -> None:
    assert STAGES[stage]["desc"]


def test_dependencies_are_sorted_and_exist_or_are_made() -> None:
    made = {
        str(out if isinstance(out, str) else next(iter(out)))
        for stage in STAGES.values()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    }
    made = {out.replace("${key}", "finetuned") for out in made}
    for name, stage in STAGES.items():
        assert stage["deps"][name in ("download", "base_model", "reranker", "probe") :] == sorted(
            stage["deps"][name in ("download", "base_model", "reranker", "probe") :]
        )
        for dep in stage["deps"]:
            dep = dep.replace("${item}", "base").replace("${key}", "finetuned")
            parts = dep.split("/")
            is_made = any("/".join(parts[:i]) in made for i in range(1, len(parts) + 1))
            is_made = is_made or any(out.startswith(f"{dep}/") for out in made)
            assert "${" in dep or is_made or (ROOT / dep).is_file(), (name, dep)


def test_no_round_can_take_the_name_of_another_stages_file() -> None:
    folders = ("metrics", "metrics/plots", "metrics/plots/slices", "data/runs", "data/mined", "models")
    fixed = {
        path.name.split(".")[0]
        for stage in STAGES.values()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
        if "${" not in (path := Path(out if isinstance(out, str) else next(iter(out)))).name
        and str(path.parent) in folders
    }
    assert {"gate", "release", "rejection", "bm25"} < fixed
    assert fixed - {"report"} <= set(RESERVED)


def test_the_library_never_imports_the_stages() -> None:
    for path in (ROOT / "embedtune").rglob("*.py"):
        assert "stages" not in {
            (node.module or "").split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }, path


def test_imports_run_one_way() -> None:
    for path in (ROOT / "embedtune").rglob("*.py"):
        name = str(path.relative_to(ROOT))
        for imported in imports(name):
            assert name not in closure(imported), f"{name} and {imported} import each other"
