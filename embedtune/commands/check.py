"""Check a parameter file, and whether results are up to date, without running anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from embedtune.commands.freshness import check_fresh
from embedtune.commands.repository import check_repository
from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, json_files
from embedtune.core.errors import Problems
from embedtune.core.run_folder import library_versions
from embedtune.data.local import unreadable


def tell_other_versions(name: str) -> None:
    """Say if a round was trained with other versions of the libraries than are installed: DVC does not see that."""
    if not paths.training_metrics(name).exists():
        return
    trained_with = json_files.read_json(paths.training_metrics(name)).get("versions", {})
    others = [
        f"{library} {trained_with[library]}, now {version}"
        for library, version in library_versions().items()
        if trained_with.get(library, version) != version
    ]
    if others:
        cli.say(f"check: {name} was trained with {'; '.join(others)}; `dvc repro -f train@{name}` trains it anew")


def main(arguments: list[str]) -> None:
    """Raise EmbedTuneError if the parameters would stop the pipeline, or the results asked about are out of date."""
    parser = argparse.ArgumentParser(prog="embedtune check", description="Check parameters without running anything.")
    parser.add_argument("file", type=Path, nargs="?", default=paths.PARAMS, help="a parameter file")
    parser.add_argument("--results-of", metavar="STAGE", help="also whether `dvc repro STAGE` would run nothing")
    given = parser.parse_args(arguments)
    params = load_params(given.file)
    check_repository()
    problems = Problems()  # DVC's own error for a missing dependency names no key of params.yaml; at a pipe it waits
    for key, dependency in (
        ("dataset.path", params.dataset.path),
        ("model.path", params.model.path),
        ("general_data.path", params.general_data.path),
        *((f"rerankers.{name}.path", entry.path) for name, entry in params.rerankers.items()),
    ):
        for problem in unreadable(Path(dependency)):
            problems.add(f"{given.file}: {key}", problem)
    problems.raise_if_any()
    for name in params.rounds:
        tell_other_versions(name)
    if given.results_of:
        check_fresh(given.results_of)
