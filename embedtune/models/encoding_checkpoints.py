"""Resumable encoding: vectors are written to a scratch folder, and moved to the output when complete.

    <run>/passages.npy ...          the arrays, at their full size from the start
    <run>/shards.json               file -> number of finished shards, counted from the first
    <run>/progress-0.json ...       how far a process is in the next shard, written every minute

A shard is `SHARD_ROWS` consecutive rows; texts are sorted by length only within a shard. The folder's name is a hash of
what the vectors depend on (core/run_folder.py), as for training checkpoints.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune.compute import distributed
from embedtune.compute.chosen_once import CHOICES
from embedtune.core import cli, files, json_files, locks
from embedtune.models import vector_store

SHARD_ROWS = 16_384
SHARDS = "shards.json"

NOTED_EVERY = 60.0  # seconds


@dataclass
class Progress:
    """How far this process is in a shard of the array `file` of the run.

    `done` of its rows are written, the longest texts first, and a batch has `batch_tokens` tokens, as in the shards and
    files before (None: at the start). `note` is called when more are; every minute it brings them and their number to
    the disk.
    """

    out: NDArray[np.float16]
    run: Path
    file: str
    shard: int
    done: int = 0
    batch_tokens: int | None = None
    noted: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        left = json_files.read_json(self._path) if self._path.exists() else {}
        if left.get("processes") == distributed.world_size():
            self.batch_tokens = left["batch_tokens"]
            if (left["file"], left["shard"]) == (self.file, self.shard):
                self.done = left["done"]

    @property
    def _path(self) -> Path:
        return self.run / f"progress-{distributed.rank()}.json"

    def note(self, done: int, batch_tokens: int) -> None:
        """Note that `done` rows are written to `out`, in batches of `batch_tokens` by now."""
        self.done, self.batch_tokens = done, batch_tokens
        if time.monotonic() - self.noted >= NOTED_EVERY:
            self.write()

    def write(self) -> None:
        """Bring to the disk what was noted."""
        self.out.flush()  # type: ignore[attr-defined]
        now = {"file": self.file, "shard": self.shard, "processes": distributed.world_size()}
        json_files.write_json(self._path, now | {"done": self.done, "batch_tokens": self.batch_tokens})
        self.noted = time.monotonic()


Fill = Callable[[NDArray[np.float16], NDArray[np.int64], str, Progress], None]


@contextlib.contextmanager
def encoding_run(run: Path, target: Path) -> Iterator[Path]:
    """Yield the folder `run`, which `fill` writes to, and move it to the directory `target` on success.

    All processes of a machine enter this together. Other scratch folders with the same prefix are removed at the end.
    Raises EmbedTuneError when a process of another run is writing to `run`.
    """
    lock = locks.locked(run) if distributed.is_main() else contextlib.nullcontext()
    if distributed.is_main():
        run.mkdir(parents=True, exist_ok=True)
    with lock:
        distributed.barrier()
        yield run
        distributed.barrier()
        if distributed.is_main():
            files.replace_directory(run, target)
            for own in (target / SHARDS, target / CHOICES, *target.glob("progress-*.json"), *target.glob(".*.partial")):
                own.unlink(missing_ok=True)
            for old in run.parent.iterdir():  # from earlier parameters, data or code
                if old.is_dir() and old.name.rpartition("-")[0] == run.name.rpartition("-")[0]:
                    shutil.rmtree(old)


def fill(run: Path, file: str, rows: int, dimension: int, encode: Fill) -> None:
    """Fill the float16 array `file` (rows, dimension) of the run by calls of `encode`.

    It gets the array, row numbers, the shard's label, and how far an earlier, killed run came with these rows. Shards
    that one finished are skipped. Every process calls this and encodes its rows of every shard.
    """
    done = _finished(run).get(file, 0)
    if distributed.is_main() and not (run / file).exists():
        vector_store.create_array(run / f"{file}.partial", rows, dimension)
        (run / f"{file}.partial").rename(run / file)
    distributed.barrier()
    out = vector_store.open_array(run / file, writable=True)
    shards = -(-rows // SHARD_ROWS)
    if done and distributed.is_main():
        cli.say(f"encode: going on with {file} after {done} of {shards} shards, which are in {run}")
    for shard in range(done, shards):
        start, end = shard * SHARD_ROWS, min(rows, (shard + 1) * SHARD_ROWS)
        which = f" {shard + 1}/{shards}" if shards > 1 else ""
        progress = Progress(out, run, file, shard)
        if progress.done:
            cli.say(f"encode: going on with {file}{which} after {progress.done} texts, which are in {run}")
        encode(out, start + distributed.indices_of_rank(end - start), which, progress)
        progress.write()
        distributed.barrier()
        if distributed.is_main():
            json_files.write_json(run / SHARDS, _finished(run) | {file: shard + 1})


def _finished(run: Path) -> dict[str, int]:
    path = run / SHARDS
    finished: dict[str, int] = json_files.read_json(path) if path.exists() else {}
    return finished
