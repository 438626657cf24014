"""Checkpoints that a kill at any moment leaves whole: written aside, renamed, and complete or ignored.

    <run>/step-000120/    a loadable model (or adapter), state.pt (optimiser, schedule, what was logged), complete.json

`complete.json` is written last and holds the size of every file; a folder without it, or whose files have other
sizes, is no checkpoint. A run's folder is named by everything that the training depends on, so that an old checkpoint
is never taken for another run's.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from embedtune import files
from embedtune.errors import EmbedTuneError

STATE, COMPLETE = "state.pt", "complete.json"


def run_name(settings: str, inputs: list[Path]) -> str:
    """A short name that differs wherever the settings or the content of an input (a file or a directory) do."""
    digest = hashlib.sha256(settings.encode())
    for root in inputs:
        for path in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file()):
            if "__pycache__" in path.parts:
                continue
            with path.open("rb") as file:
                digest.update(f"{path}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other trainers out of the run's folder. Raises EmbedTuneError when one is in it."""
    run.mkdir(parents=True, exist_ok=True)
    with files.locked(run):
        for left in run.glob(".*.partial"):  # of a trainer that was killed while it wrote
            shutil.rmtree(left)
        yield


def folder(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return run / f"step-{step:06d}"


def write(checkpoint: Path, write_weights: Callable[[Path], None], state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all: `write_weights` gets the directory to fill."""
    with files.whole_directory(checkpoint) as partial:
        write_weights(partial)
        torch.save(state, partial / STATE)
        sizes = {str(p.relative_to(partial)): p.stat().st_size for p in sorted(partial.rglob("*")) if p.is_file()}
        files.write_json(partial / COMPLETE, sizes)


def whole(run: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first."""
    return [path for path in sorted(run.glob("step-*")) if _is_whole(path)]


def last(run: Path) -> Path | None:
    """The run's newest whole checkpoint."""
    return next(reversed(whole(run)), None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = files.read_json(checkpoint / COMPLETE)
    except EmbedTuneError:
        return False
    return all((checkpoint / name).is_file() and (checkpoint / name).stat().st_size == sizes[name] for name in sizes)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What `write` got as state, its tensors on the CPU."""
    state: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
    return state


def rotate(run: Path, keep_last: int | None, keep: Path | None) -> None:
    """Delete all but the last `keep_last` checkpoints (None: all stay) and the one to `keep`."""
    kept = whole(run)
    for checkpoint in kept[: len(kept) - keep_last] if keep_last is not None else []:
        if checkpoint != keep:
            (checkpoint / COMPLETE).unlink()  # a kill from here on leaves no checkpoint that looks whole
            shutil.rmtree(checkpoint)


def finish(run: Path, keep_models: bool) -> None:
    """End a run: nothing can be continued any more; with `keep_models` its checkpoints stay as loadable models."""
    if not keep_models:
        shutil.rmtree(run)
        return
    for torn in set(run.glob("step-*")) - set(whole(run)):  # by a kill while it was deleted
        shutil.rmtree(torn)
    for checkpoint in whole(run):
        (checkpoint / COMPLETE).unlink(missing_ok=True)
        (checkpoint / STATE).unlink(missing_ok=True)
