"""Checkpoints that survive a kill at any moment: written under a temporary name, renamed, and ignored if incomplete.

    <run>/step-000120/    a loadable model (or adapter), state.pt (optimiser, scheduler, log), complete.json

`complete.json` is written last and holds the size of every file. A directory without it, or with files of other sizes,
does not count as a checkpoint. The name of a run's directory is a hash of everything that the training depends on (see
run_folder.py), so that a run never resumes from another run's checkpoint.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from embedtune.core import files, json_files, locks
from embedtune.core.errors import EmbedTuneError

STATE, COMPLETE = "state.pt", "complete.json"


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Lock the run's directory and remove what a killed run left half-written.

    Raises EmbedTuneError if another process holds the lock.
    """
    run.mkdir(parents=True, exist_ok=True)
    with locks.locked(run):
        for left in run.glob(".*.partial"):  # from a process that was killed while it wrote
            shutil.rmtree(left)
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
        sizes = {str(p.relative_to(partial)): p.stat().st_size for p in sorted(partial.rglob("*")) if p.is_file()}
        json_files.write_json(partial / COMPLETE, sizes)


def complete(run: Path) -> list[Path]:
    """The run's complete checkpoints, oldest first."""
    return [path for path in sorted(run.glob("step-*")) if _is_complete(path)]


def last(run: Path) -> Path | None:
    """The run's newest complete checkpoint, or None."""
    return next(reversed(complete(run)), None)


def _is_complete(checkpoint: Path) -> bool:
    try:
        sizes = json_files.read_json(checkpoint / COMPLETE)
    except EmbedTuneError:
        return False
    return all((checkpoint / name).is_file() and (checkpoint / name).stat().st_size == sizes[name] for name in sizes)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The `state` of a checkpoint that `write` wrote, with its tensors on the CPU."""
    state: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    return state


def rotate(run: Path, keep_last: int | None, keep: Path | None) -> None:
    """Delete the run's checkpoints except the last `keep_last` (None: delete none) and `keep`."""
    kept = complete(run)
    for checkpoint in kept[: len(kept) - keep_last] if keep_last is not None else []:
        if checkpoint != keep:
            (checkpoint / COMPLETE).unlink()  # after a kill from here on, it no longer looks complete
            shutil.rmtree(checkpoint)


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
