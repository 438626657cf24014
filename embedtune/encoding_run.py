"""An encoding that a kill does not lose: vectors fill a scratch folder shard by shard and are moved when complete.

    <run>/passages.npy ...   the arrays, of their full size from the start
    <run>/shards.json        file -> how many of its first shards are finished

A shard is so many consecutive rows, sorted by length within. A run's folder is named by everything that the vectors
depend on, as training's checkpoints are.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedtune import cli, distributed, embeddings, files

SHARD_ROWS = 16_384
SHARDS = "shards.json"

Fill = Callable[[NDArray[np.float16], NDArray[np.int64], str], None]


@contextlib.contextmanager
def encoding_run(run: Path, target: Path) -> Iterator[Path]:
    """The folder `run` to fill by `fill`, for all processes of a machine; it becomes the directory `target` at the end.

    Raises EmbedTuneError when another process is filling it.
    """
    lock = files.locked(run) if distributed.is_main() else contextlib.nullcontext()
    if distributed.is_main():
        run.mkdir(parents=True, exist_ok=True)
    with lock:
        distributed.wait()
        yield run
        distributed.wait()
        if distributed.is_main():
            files.replace_directory(run, target)
            (target / SHARDS).unlink(missing_ok=True)
            for old in run.parent.iterdir():  # of earlier parameters, data or code
                if old.is_dir() and old.name.rpartition("-")[0] == run.name.rpartition("-")[0]:
                    shutil.rmtree(old)


def fill(run: Path, file: str, rows: int, dimension: int, encode: Fill) -> None:
    """Fill the array `file` (rows, dimension) of the run with `encode(out, its rows, what to call them)`.

    Shards that an earlier, killed run has finished are left as they are. Every process calls this; each encodes its
    share of every shard.
    """
    done = _finished(run).get(file, 0)
    if distributed.is_main() and not (run / file).exists():
        embeddings.create(run, f"{file}.partial", rows, dimension)
        (run / f"{file}.partial").rename(run / file)
    distributed.wait()
    out = embeddings.open_vectors(run, file, writable=True)
    shards = -(-rows // SHARD_ROWS)
    if done and distributed.is_main():
        cli.say(f"encode: going on with {file} after {done} of {shards} shards, which are in {run}")
    for shard in range(done, shards):
        start, end = shard * SHARD_ROWS, min(rows, (shard + 1) * SHARD_ROWS)
        which = f" {shard + 1}/{shards}" if shards > 1 else ""
        encode(out, start + distributed.share(end - start), which)
        out.flush()  # type: ignore[attr-defined]
        distributed.wait()
        if distributed.is_main():
            files.write_json(run / SHARDS, _finished(run) | {file: shard + 1})


def _finished(run: Path) -> dict[str, int]:
    path = run / SHARDS
    finished: dict[str, int] = files.read_json(path) if path.exists() else {}
    return finished
