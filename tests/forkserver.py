"""Processes forked from one that has imported what stages and trainings need: a start takes no seconds of imports."""

from __future__ import annotations

import functools
import multiprocessing
import os
import runpy
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

STAGES = sorted((Path(__file__).parents[1] / "stages").glob("[a-z]*.py"))


@functools.cache
def forkserver() -> ForkServerContext:
    """The context whose processes are forked from a server that has every stage imported, one a worker of the tests."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*(f"stages.{path.stem}" for path in STAGES), "tests.golden.training"])
    return context


def run_stages(root: str, commands: tuple[str, ...], output: str) -> None:
    """In a new process: run the stages in the project `root`, with all they say in the file `output`."""
    os.setpgid(0, 0)
    os.chdir(root)
    os.environ["HF_HUB_OFFLINE"] = "1"
    with Path(output).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for command in commands:
        name, *arguments = command.split()
        sys.argv = [f"stages/{name}.py", *arguments]
        runpy.run_module(f"stages.{name}", run_name="__main__")
