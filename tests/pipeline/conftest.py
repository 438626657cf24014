"""A copy of the project in a temporary folder, small parameters, and one finished `dvc repro` shared by the tests.

A stage takes a second or two, its process and DVC's bookkeeping five times as long. So one real `dvc repro` is shared;
what DVC would run after an edit is asked of DVC (`stale`), and what comes out of it is seen by running the stages' own
`main` in processes forked from one that has imported everything (`stages`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx
import pytest
import yaml
from filelock import FileLock

from tests.forkserver import forkserver, run_stages

ROOT = Path(__file__).parents[2]
SMALL = {
    "dataset": {
        "dev_queries": 0,
        "sample": {"documents": 40, "train_queries": 96, "dev_queries": 40, "test_queries": 60},
    },
    "train": {"num_train_epochs": 2, "per_device_train_batch_size": 16},
}


TO_TRAIN = (  # all stages up to a first training, for `Project.stages`
    *("download", "base_model", "convert", "segment", "check", "encode base", "mine finetuned", "dev_pool"),
    "train finetuned",
)
TO_EVALUATE = ("encode finetuned", "index base", "index finetuned", "slices", "evaluate base", "evaluate finetuned")


@dataclass
class Project:
    """A checkout of the project with commands run in it."""

    root: Path

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command with this environment's programs first on the path; fail the test on a bad exit code."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", **environment}
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def repro(self, *arguments: str) -> set[str]:
        """`dvc repro`; returns the names of the stages that ran."""
        done = self.run("dvc", "repro", *arguments)
        return {line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")}

    def stale(self) -> set[str]:
        """The names of the stages that `dvc repro` would run if all their outputs changed: what `dvc status` finds
        changed, and all that comes after it (a dry run stops at the first). `check` is left out: what it writes is the
        same wherever it finds nothing wrong."""
        from dvc.repo import Repo

        with contextlib.chdir(self.root), Repo(str(self.root)) as repo:
            changed = set(repo.status()) - {"check"}
            graph = repo.index.graph  # from a stage to those that it depends on
            after = (networkx.ancestors(graph, stage) | {stage} for stage in graph if stage.addressing in changed)
            return {stage.addressing for stages in after for stage in stages}

    def stages(self, *commands: str, check: bool = True) -> Stages:
        """Run stages one after the other, such as "mine finetuned", without DVC; what they said, and how they ended."""
        output = Path(tempfile.mkstemp(dir=self.root.parent)[1])
        process = forkserver().Process(target=run_stages, args=(str(self.root), commands, str(output)))
        process.start()
        process.join()
        said = output.read_text()
        assert not check or process.exitcode == 0, f"{', '.join(commands)}\n{said}"
        assert process.exitcode is not None
        return Stages(process.exitcode, said)

    def edit(self, **sections: dict[str, Any] | None) -> None:
        """Set keys of params.yaml; a section that is None becomes empty."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params |= {name: {} for name, keys in sections.items() if keys is None}
        merge(params, {name: keys for name, keys in sections.items() if keys is not None})
        path.write_text(yaml.safe_dump(params, allow_unicode=True))

    def metrics(self, name: str) -> dict[str, Any]:
        """A file of metrics/."""
        return json.loads((self.root / "metrics" / f"{name}.json").read_text())

    def commit(self) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "state")


@dataclass(frozen=True)
class Stages:
    """How stages ended that were run without DVC, and what they said on both outputs."""

    returncode: int
    said: str


def merge(params: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(params.get(key), dict):
            merge(params[key], value)
        else:
            params[key] = value


def checkout(target: Path) -> Project:
    """The working tree's files (not those git ignores) as a fresh repository with one commit."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    project = Project(target)
    project.run("git", "init", "--quiet")
    return project


def copy(project: Project, target: Path) -> Project:
    """The project with its outputs and cache, to be changed."""
    shutil.copytree(project.root, target, symlinks=True)
    return Project(target)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after `dvc repro` with small parameters, committed. Tests must not change it: `copy` it.

    pytest-xdist's workers share it: the first to come makes it.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    with FileLock(f"{root}.lock"):
        if (root / "done").exists():
            return Project(root)
        root.mkdir()
        project = checkout(root)
        project.edit(**SMALL)
        project.repro()
        project.commit()
        (root / ".git" / "info" / "exclude").write_text("done\n")
        (root / "done").touch()
        return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project."""
    return copy(finished, tmp_path / "project")
