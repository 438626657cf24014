"""Checkpoints that survive a kill at any moment: written under a temporary name, renamed, and ignored if incomplete.

    <run>/step-000120/    a loadable model (or adapter), state.pt (optimiser, scheduler, log), complete.json

`complete.json` is written last and holds the size and the hash of every file. A directory without it, or with files of
other sizes, does not count as a checkpoint. The hashes are compared before a run resumes: they find what a disk has
damaged. The name of a run's directory is a hash of everything that the training depends on (see
run_folder.py), so that a run never resumes from another run's checkpoint.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from embedtune.compute.chosen_once import CHOICES
from embedtune.core import files, json_files, locks
from embedtune.core.errors import EmbedTuneError
from embedtune.core.hashes import content_hash

STATE, COMPLETE = "state.pt", "complete.json"


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Lock the run's directory and remove what a killed run left half-written.

    Raises EmbedTuneError if another process holds the lock.
    """
    run.mkdir(parents=True, exist_ok=True)
    with locks.locked(run):
        for left in run.glob(".*.partial"):  # from a process that was killed while it wrote
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield


def folder(run: Path, step: int) -> Path:
    """The directory of a step's checkpoint."""
    return run / f"step-{step:06d}"


def write(checkpoint: Path, write_weights: Callable[[Path], None], state: dict[str, Any]) -> None:
    """Write a checkpoint atomically: `write_weights` fills a given directory, `state` goes to state.pt."""
    with files.atomic_directory(checkpoint) as partial:
        write_weights(partial)
        with (partial / STATE).open("wb") as file:  # if torch opened it, the reason of a failed write were lost
            torch.save(state, file)
        written = sorted(path for path in partial.rglob("*") if path.is_file())
        found = {str(p.relative_to(partial)): [p.stat().st_size, content_hash(p)] for p in written}
        json_files.write_json(partial / COMPLETE, found)


def complete(run: Path) -> list[Path]:
    """The run's complete checkpoints, oldest first."""
    return [path for path in sorted(run.glob("step-*")) if _is_complete(path)]


def last(run: Path) -> Path | None:
    """The run's newest complete checkpoint, or None."""
    return next(reversed(complete(run)), None)


def _is_complete(checkpoint: Path) -> bool:
    return all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size
        for name, (size, _) in (_files(checkpoint) or {"": (0, "")}).items()
    )


def damaged(checkpoint: Path) -> str | None:
    """The name of a file of the checkpoint that is missing or is not as it was written; None if all are whole."""
    for name, (_, written) in (_files(checkpoint) or {COMPLETE: (0, "")}).items():
        path = checkpoint / name
        if not path.is_file() or content_hash(path) != written:
            return name
    return None


def _files(checkpoint: Path) -> dict[str, tuple[int, str]] | None:
    """Name -> size and hash, as complete.json has them; None without a readable one."""
    try:
        return {name: (size, written) for name, (size, written) in json_files.read_json(checkpoint / COMPLETE).items()}
    except (EmbedTuneError, AttributeError, TypeError, ValueError):
        return None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The `state` of a checkpoint that `write` wrote, with its tensors on the CPU."""
    state: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    return state


def rotate(run: Path, keep_last: int | None, best_until: Callable[[int], int | None]) -> None:
    """Delete the run's checkpoints except the last `keep_last` (None: delete none) and the best ones that these need.

    `best_until` gives the best step up to a step. The best of each kept checkpoint stays: a run that resumes there,
    because a later one is damaged, may end with it.
    """
    there = complete(run)
    if keep_last is None or len(there) <= keep_last:
        return
    last = there[len(there) - keep_last :]
    needed = {step for path in last if (step := best_until(step_of(path))) is not None}
    for checkpoint in there[: len(there) - keep_last]:
        if step_of(checkpoint) not in needed:
            (checkpoint / COMPLETE).unlink()  # after a kill from here on, it no longer looks complete
            shutil.rmtree(checkpoint)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix("step-"))


def finish(run: Path, keep_models: bool) -> None:
    """End a run, which cannot be resumed afterwards: delete it, or with `keep_models` keep the checkpoints' models."""
    if not keep_models:
        shutil.rmtree(run)
        return
    for torn in set(run.glob("step-*")) - set(complete(run)):  # by a kill during its deletion
        shutil.rmtree(torn)
    for checkpoint in complete(run):
        (checkpoint / COMPLETE).unlink(missing_ok=True)
        (checkpoint / STATE).unlink(missing_ok=True)
    (run / CHOICES).unlink(missing_ok=True)
