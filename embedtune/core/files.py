"""Atomic outputs: a file or a directory is either complete or absent.

An output is written next to its final path under a `.partial` name and renamed when it is complete. A full disk, a
kill or an error therefore never leaves an incomplete file at the final path. A lock (see locks.py) excludes a second
writer, such as a child process that survived the kill of its parent.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from embedtune.core.errors import EmbedTuneError
from embedtune.core.locks import locked


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory to write into. On success it replaces `path`; on failure it is removed.

    Raises EmbedTuneError when another process is writing the same output, or the disk is full.
    """
    with _partial(path) as partial:
        _remove(partial)
        partial.mkdir()
        yield partial
        _remove(path)
        partial.rename(path)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to. On success that file replaces `path`; on failure it is removed.

    Raises EmbedTuneError when another process is writing the same output, or the disk is full.
    """
    with _partial(path) as partial:
        _remove(partial)
        yield partial
        partial.replace(path)


def replace_directory(source: Path, target: Path) -> None:
    """Move the directory `source` to `target` and replace what is there. Both must be on the same file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove(target)
    source.rename(target)


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with locked(path):
        try:
            yield partial
        except OSError as error:
            if error.errno == errno.ENOSPC:
                free = shutil.disk_usage(path.parent).free / 1e9
                raise EmbedTuneError(
                    f"{path}: the disk is full ({free:.1f} GB free); make room and run it again, nothing half-written "
                    "was kept"
                ) from error
            raise
        finally:
            _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
