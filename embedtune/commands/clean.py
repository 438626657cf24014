"""List what no current parameters need any more and no process is writing; with --yes, remove it.

    checkpoints/        finished trainings, and runs of other parameters, data, code or models than the current ones
    logs/tensorboard/   the logs of such trainings
    .NAME.partial       what a killed process had not finished, in data/, models/, metrics/, logs/ and checkpoints/
    .NAME.lock          its lock

A run that was killed and whose parameters, data and code are the current ones stays, since `dvc repro` resumes it. The
versions of libraries do not count: another environment of the same project may have them.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedtune.config import paths
from embedtune.config.reading import load_params, value_text
from embedtune.config.schema import Params
from embedtune.config.systems import BASE
from embedtune.core import cli, json_files, locks
from embedtune.core.errors import EmbedTuneError
from embedtune.core.hashes import content_hash
from embedtune.core.run_folder import description_file

WRITTEN = (paths.CHECKPOINTS, paths.DATA, paths.LOGS, paths.METRICS, paths.MODELS)  # by stages, and by nobody else


@dataclass(frozen=True)
class Item:
    """What can be removed: a file or a directory, why, and the path whose lock says that it is in use."""

    path: Path
    reason: str
    locked_as: Path


def removable(params: Params) -> list[Item]:
    """What nothing needs any more, sorted by path within its kind. What is in use is left out."""
    state = functools.cache(functools.partial(_state, params))
    found = [*_runs(state), *_tensorboard(state), *_left_by_killed(_own_places(params))]
    folders = {item.path for item in found}
    return [item for item in found if not folders.intersection(item.path.parents) and not _in_use(item.locked_as)]


def _runs(state: Callable[[Path], str]) -> Iterator[Item]:
    """Scratch folders that nothing resumes from, and the descriptions of those that are gone."""
    for run in sorted(path for path in paths.CHECKPOINTS.glob("[!.]*") if path.is_dir()):
        if reason := state(run) or _finished(run):
            yield Item(run, reason, run)
    for description in sorted(paths.CHECKPOINTS.glob("[!.]*.json")):
        run = description.with_suffix("")
        if reason := state(run):
            yield Item(description, reason, run)


def _tensorboard(state: Callable[[Path], str]) -> Iterator[Item]:
    for log in sorted(path for path in paths.TENSORBOARD.glob("[!.]*") if path.is_dir()):
        run = paths.CHECKPOINTS / log.name
        if reason := state(run):
            yield Item(log, f"the log of a training {reason}", run)


def _state(params: Params, run: Path) -> str:
    """Why the current parameters do not need the run; empty if they do, or if that cannot be told."""
    described = _description(run)
    if described is None:
        return "of an earlier version of the code"
    if described["name"] not in (BASE, *params.rounds, *params.mixtures, *params.rerankers):
        return f"of {described['name']}, which {paths.PARAMS} no longer has"
    for key, text in described["parameters"].items():
        if value_text(params, key) != text:
            return f"of other parameters ({key})"
    for name, known in described["inputs"].items():
        if (now := _hash(name)) is not None and now != known:
            return f"of other data, models or code ({name})"
    return ""


def _finished(run: Path) -> str:
    described = _description(run)
    return "models of a finished training, from which nothing resumes" if described and described["finished"] else ""


def _description(run: Path) -> dict[str, Any] | None:
    try:
        found = json_files.read_json(description_file(run))
        return {key: found[key] for key in ("name", "parameters", "inputs", "finished")}
    except (EmbedTuneError, KeyError, TypeError):
        return None


@functools.cache
def _hash(name: str) -> str | None:
    """The hash of a file or a directory; None if it is not here, as in a clone without its data."""
    try:
        return content_hash(Path(name))
    except FileNotFoundError:
        return None


def _left_by_killed(skipped: set[Path]) -> Iterator[Item]:
    """Unfinished outputs and locks; not in `skipped`, the user's own directories, and not within an unfinished one."""
    for place in WRITTEN:
        for folder, folders, files in os.walk(place):
            here = Path(folder)
            hidden = sorted(name for name in (*folders, *files) if name.startswith("."))
            folders[:] = [name for name in folders if not name.startswith(".") and here / name not in skipped]
            for name in hidden:
                output = here / name[1:].removesuffix(".partial").removesuffix(".lock").removesuffix(".old")
                aside = name.endswith(".old.partial") and not output.exists()  # the good output; the next run uses it
                if name.endswith(".partial") and not aside:
                    yield Item(here / name, "not finished by a process that was killed", output)
                elif name.endswith(".lock"):
                    yield Item(here / name, "the lock of a process that was killed", output)


def _own_places(params: Params) -> set[Path]:
    own = [section.path for section in (params.dataset, params.general_data, params.model)]
    own += [entry.path for entry in params.rerankers.values()]
    return {Path(os.path.normpath(path)) for path in own}


def _in_use(path: Path) -> bool:
    """Whether a process holds the lock of `path`, or might: a file system without locks cannot tell."""
    try:
        with _lock_of(path).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _remove(item: Item) -> bool:
    """Remove it while holding its lock, which goes last; False if that is not possible."""
    try:
        with locks.locked(item.locked_as):
            if item.path.is_dir() and not item.path.is_symlink():
                shutil.rmtree(item.path)
            elif item.path != _lock_of(item.locked_as):
                item.path.unlink(missing_ok=True)
    except (EmbedTuneError, OSError) as error:
        cli.say(f"kept: {error}")
        return False
    return True


def _size(path: Path) -> int:
    files = [path] if not path.is_dir() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.lstat().st_size for file in files)


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def main(arguments: list[str]) -> None:
    """List what can be removed, or remove it."""
    parser = argparse.ArgumentParser(
        prog="embedtune clean", description="List checkpoints, logs and remains that no current parameters need."
    )
    parser.add_argument("--yes", action="store_true", help="remove them")
    remove = parser.parse_args(arguments).yes
    items = removable(load_params())
    total = 0
    for item in items:
        size = _size(item.path)
        if not remove or _remove(item):
            total += size
            print(f"{_readable(size):>8}  {item.path}: {item.reason}")
    if not items:
        print("nothing to remove")
    elif remove:
        print(f"{_readable(total)} removed")
    else:
        print(f"{_readable(total)} in all; `embedtune clean --yes` removes them")
