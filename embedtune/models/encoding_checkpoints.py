"""Resumable encoding: vectors are written to a scratch folder shard by shard, and moved to the output when complete.

    <run>/passages.npy ...   the arrays, at their full size from the start
    <run>/shards.json        file -> number of finished shards, counted from the first

A shard is `SHARD_ROWS` consecutive rows; texts are sorted by length only within a shard. The folder's name is a hash of
everything that the vectors depend on (core/run_folder.py), as for training checkpoints.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune.compute import distributed
from embedtune.core import cli, files, json_files, locks
from embedtune.models import vector_store

SHARD_ROWS = 16_384
SHARDS = "shards.json"

Fill = Callable[[NDArray[np.float16], NDArray[np.int64], str], None]


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
            (target / SHARDS).unlink(missing_ok=True)
            for old in run.parent.iterdir():  # from earlier parameters, data or code
                if old.is_dir() and old.name.rpartition("-")[0] == run.name.rpartition("-")[0]:
                    shutil.rmtree(old)


def fill(run: Path, file: str, rows: int, dimension: int, encode: Fill) -> None:
    """Fill the float16 array `file` (rows, dimension) of the run by calls of `encode(out, row numbers, shard label)`.

    Shards that an earlier, killed run finished are skipped. Every process calls this and encodes its rows of every
    shard.
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
        encode(out, start + distributed.indices_of_rank(end - start), which)
        out.flush()  # type: ignore[attr-defined]
        distributed.barrier()
        if distributed.is_main():
            json_files.write_json(run / SHARDS, _finished(run) | {file: shard + 1})


def _finished(run: Path) -> dict[str, int]:
    path = run / SHARDS
    finished: dict[str, int] = json_files.read_json(path) if path.exists() else {}
    return finished
