"""dvc.yaml declares exactly what the stages read: their code, their parameters, their files."""

import ast
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from embedtune.config.recipe import FilledTrain
from embedtune.config.schema import Train
from embedtune.config.systems import RESERVED
from embedtune.training.objectives.contrastive import Contrastive
from embedtune.training.options import Adapter, Batching, Evaluating, Optimizer, Saving, from_section
from stages import running
from tools.code_dependencies import BY_FILE, ROOT, closure, code_dependencies, file_of, is_wording, renewed

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES: dict[str, dict[str, Any]] = {name: stage.get("do", stage) for name, stage in DVC["stages"].items()}
NO_STAGES = {"running", "candidates", "mining", "training"}  # what several stages share
WHERE = {"compute"}  # a section that says where to compute: no reason to compute again


HELPERS = [
    *(f"embedtune.config.{name}" for name in ("recipe", "data_checks")),
    *(f"stages.{name}" for name in ("candidates", "mining", "training")),
]  # they read parameters for the stages


def module(name: str) -> ast.Module:
    return ast.parse((ROOT / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8"))


HELPING = {
    (name, node.name): node for name in HELPERS for node in ast.walk(module(name)) if isinstance(node, ast.FunctionDef)
}


def parameters_read(stage: str) -> set[str]:
    """Key paths that a stage's code takes from `params`, such as `dataset.seed`, by itself and by what it calls."""
    read: set[str] = set()
    todo: list[tuple[str, ast.AST]] = [(f"stages.{stage}", module(f"stages.{stage}"))]
    seen: set[tuple[str, str]] = set()
    while todo:
        name, tree = todo.pop()
        read |= read_in(tree)
        known = {
            alias.name: node.module
            for node in ast.walk(module(name))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        called = {(str(known.get(called, name)), called) for called in names} & HELPING.keys() - seen
        seen |= called
        todo += [(found[0], HELPING[found]) for found in called]
    return read


def read_in(tree: ast.AST, name: str = "params") -> set[str]:
    """Key paths that are taken from `name` in a piece of code."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    read = set()
    for node in ast.walk(tree):
        keys: list[str] = []
        while isinstance(node, ast.Attribute) and (keys or id(node) not in inner):
            keys.insert(0, node.attr)
            node = node.value
        if keys and isinstance(node, ast.Name) and node.id == name:
            read.add(".".join(key for key in keys if not key.startswith("model_") and key != "items"))
    return read


def test_stage_names_are_files() -> None:
    assert {file_of(stage) for stage in STAGES} == {
        path.stem for path in (ROOT / "stages").glob("[a-z]*.py")
    } - NO_STAGES


def test_code_dependencies_are_the_imports() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert text == renewed(text), "run `python -m tools.code_dependencies`"


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_lists_its_code(stage: str) -> None:
    """By file where a re-run costs hours or the network, else by room; never what words messages."""
    declared = [dep for dep in STAGES[stage]["deps"] if dep.startswith(("embedtune", "stages"))]
    assert declared == code_dependencies(stage)
    files = closure(f"stages/{file_of(stage)}.py")
    assert all(any(file == dep or file.startswith(f"{dep}/") for dep in declared) for file in files)
    assert not any(is_wording(dep) for dep in declared)
    assert all(dep.endswith(".py") for dep in declared) or file_of(stage) not in BY_FILE
    assert f"stages/{file_of(stage)}.py" in declared


def test_training_depends_on_nothing_that_only_the_report_or_the_comparison_reads() -> None:
    rooms = {dep.split("/")[1] for dep in STAGES["train"]["deps"] if dep.startswith("embedtune/")}
    assert rooms == {"compute", "config", "core", "data", "evaluation", "mining", "models", "retrieval", "training"}
    assert [dep for dep in STAGES["train"]["deps"] if "/config/" in dep] == ["embedtune/config/recipe.py"]
    assert not {dep for dep in STAGES["train"]["deps"] if "/mine.py" in dep or "bm25" in dep or "report" in dep}


@pytest.mark.parametrize("stage", STAGES)
def test_parameters_declared_are_those_read(stage: str) -> None:
    declared = {key.removesuffix(".${key}") for key in STAGES[stage].get("params", [])}
    read = {key for key in parameters_read(file_of(stage)) if key.split(".")[0] not in WHERE}
    undeclared = {key for key in read if not any(key == d or key.startswith(d + ".") for d in declared)}
    unread = {d for d in declared if not any(key == d or key.startswith(d + ".") for key in read)}
    assert (undeclared, unread) == (set(), set())


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_description(stage: str) -> None:
    assert STAGES[stage]["desc"]


def test_dependencies_exist_or_are_made() -> None:
    made = {
        str(out if isinstance(out, str) else next(iter(out)))
        for stage in STAGES.values()
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    }
    made = {out.replace("${key}", name) for out in made for name in ("base", "finetuned")}
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            dep = dep.replace("${item}", "base").replace("${key}", "finetuned")
            parts = dep.split("/")
            is_made = any("/".join(parts[:i]) in made for i in range(1, len(parts) + 1))
            is_made = is_made or any(out.startswith(f"{dep}/") for out in made)
            assert "${" in dep or is_made or (ROOT / dep).exists(), (name, dep)


def test_no_round_can_take_the_name_of_another_stages_file() -> None:
    folders = ("metrics", "metrics/plots", "metrics/training", "data/runs", "data/mined", "models")
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


def test_no_parameter_stands_in_a_command_where_a_shell_would_read_it() -> None:
    for name, stage in DVC["stages"].items():
        command = f"python -m stages.{file_of(name)}"
        assert STAGES[name]["cmd"] == (f'{command} "$DVC_STAGE"' if "foreach" in stage else command)


@pytest.mark.parametrize("argument", ["finetuned", "encode@finetuned", "dvc.yaml:encode@finetuned"])
def test_a_stage_is_told_its_name_by_hand_or_by_dvc(monkeypatch: pytest.MonkeyPatch, argument: str) -> None:
    monkeypatch.setattr("sys.argv", ["stages/encode.py", argument])
    assert running.name_given() == "finetuned"


def test_every_option_of_training_is_in_one_group_or_used_by_the_stage() -> None:
    """A key of the section stands in one dataclass; what is about data or processes the stage uses itself."""
    groups = (Adapter, Batching, Contrastive, Evaluating, Optimizer, Saving)
    named = [field.name for group in groups for field in fields(group)]
    assert len(named) == len(set(named))
    tree = ast.parse((ROOT / "stages/train.py").read_text(encoding="utf-8"))
    own = {key.removeprefix("train.") for key in read_in(tree) if key.startswith("train.")}
    own |= read_in(module("stages.training"), "options")
    assert set(named) | own | set(FilledTrain.model_fields) | {"recipe"} == set(Train.model_fields)
    twice = {"precision", "save_strategy", "eval_strategy", "method", "seed", "metric_for_best_model"}
    twice |= {"teacher_temperature"}
    assert set(named) & own <= twice


def test_a_group_of_options_takes_no_default_in_a_parameters_place() -> None:
    with pytest.raises(AttributeError):
        from_section(Saving, SimpleNamespace(save_strategy="no", save_steps=1))
    section = SimpleNamespace(save_strategy="no", save_steps=1, save_total_limit=None)
    assert from_section(Saving, section, save_steps=7) == Saving("no", 7, None)
