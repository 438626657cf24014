"""Write each stage's code dependencies into dvc.yaml: the files or rooms that its module imports. A test keeps them.

    python -m tools.code_dependencies

Stages in BY_FILE cost hours or the network when they run again, or hold up those that do; they depend on the very files
that they import, and there what checks parameters, words messages or draws bars is left out: a better message re-runs
nothing. The others depend on whole rooms of the package: they take seconds, and each dependency costs every run some
milliseconds, since DVC writes dvc.lock anew after each stage.
"""

from __future__ import annotations

import ast
import re
import textwrap
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
DVC_YAML = ROOT / "dvc.yaml"
BY_FILE = {
    *(
        "download",
        "base_model",
        "reranker_base",
        "segment",
        "check",
        "encode",
        "index",
        "mine",
        "mine_reranker",
        "train",
    ),
    *("train_reranker", "rerank"),
}
RESULTS = {"embedtune/config/recipe.py", "embedtune/config/data_checks.py"}  # of config, these change outputs
WORDING = {
    *("embedtune/core/cli.py", "embedtune/core/errors.py", "embedtune/core/progress.py", "embedtune/core/visible.py"),
    *("embedtune/data/hub/errors.py", "stages/running.py"),
}
COLUMNS = 118
CODE_LINE = re.compile(r"^ +(?:embedtune|stages)/.*\n", re.MULTILINE)
STAGE = re.compile(r"^  (\w+):\n(?:    .*\n|\n)+", re.MULTILINE)


def file_of(stage: str) -> str:
    """The name of a stage's file in stages/: encode_base and encode_mixture run what encode runs."""
    if (ROOT / "stages" / f"{stage}.py").is_file():
        return stage
    return stage.removesuffix("_base").removesuffix("_mixture")


def is_wording(path: str) -> bool:
    """Whether a file cannot change an output: it checks parameters, words messages or draws bars."""
    return path in WORDING or (path.startswith(("embedtune/config/", "embedtune/commands/")) and path not in RESULTS)


@cache
def imports(path: str) -> frozenset[str]:
    """The project's modules that a module imports when it runs, as paths; not those for type checkers alone."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in for_types:
            package = (node.module or "").split(".")[0]
            if package in ("embedtune", "stages"):
                for alias in node.names:
                    named = (f"{node.module}.{alias.name}", str(node.module))  # a module, or a name of one
                    paths = (name.replace(".", "/") + ".py" for name in named)
                    found.update(path for path in paths if (ROOT / path).is_file())
    return frozenset(found)


def closure(path: str) -> set[str]:
    """The module and all it imports, directly or not, but for wording and what that imports."""
    seen: set[str] = set()
    todo = {path}
    while todo:
        seen |= todo
        todo = {found for module in todo for found in imports(module) if not is_wording(found)} - seen
    return seen


def code_dependencies(stage: str) -> list[str]:
    """What the stage's list of dependencies in dvc.yaml has of code, sorted."""
    files = closure(f"stages/{file_of(stage)}.py")
    if file_of(stage) in BY_FILE:
        return sorted(files)
    rooms = {"/".join(path.split("/")[:2]) for path in files if not path.startswith("stages/")}
    return sorted(rooms | {path for path in files if path.startswith("stages/")})


def renewed(text: str) -> str:
    """The text of dvc.yaml with every stage's code dependencies made anew, at the end of its dependencies."""

    def stage(match: re.Match[str]) -> str:
        block = CODE_LINE.sub("", match[0])
        end = re.search(r"^( +)\]\n", block[block.find("deps: [") :], re.MULTILINE)
        if "deps: [" not in block or end is None:  # it repeats another stage's definition
            return block
        paths, indent = ", ".join(code_dependencies(match[1])) + ",", end[1] + "  "
        lines = textwrap.fill(paths, COLUMNS, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        place = block.find("deps: [") + end.start()
        return f"{block[:place]}{lines}\n{block[place:]}"

    return STAGE.sub(stage, text)


def main() -> None:
    """Renew dvc.yaml in place."""
    DVC_YAML.write_text(renewed(DVC_YAML.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
