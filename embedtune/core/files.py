"""Atomic outputs: a file or a directory is either complete or absent.

An output is written next to its final path under a `.partial` name and renamed when it is complete. A full disk, a
kill or an error therefore never leaves an incomplete file at the final path. A directory that is there is renamed aside
first and removed last; if a kill comes between the two renames, the next writer puts it back. A lock (see locks.py)
excludes a second writer, such as a child process that survived the kill of its parent.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from embedtune.core.locks import locked
from embedtune.core.storage import refusals_explained


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory to write into. On success it replaces `path`; on failure it is removed.

    Raises EmbedTuneError when another process is writing the same output, or the system refuses to write (storage.py).
    """
    with _partial(path) as partial:
        _put_back(path)
        partial.mkdir()
        yield partial
        _put(partial, path)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to. On success that file replaces `path`; on failure it is removed.

    Raises EmbedTuneError when another process is writing the same output, or the system refuses to write (storage.py).
    """
    with _partial(path) as partial:
        yield partial
        partial.replace(path)


def replace_directory(source: Path, target: Path) -> None:
    """Move the directory `source` to `target`, in place of what is there. Between file systems it is copied first.

    Raises EmbedTuneError when the copy cannot be written; `source` and what was at `target` are then as before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _put_back(target)
    try:
        _put(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_directory(target) as copy:
            shutil.copytree(source, copy, dirs_exist_ok=True)
        shutil.rmtree(source)


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[Path]:
    partial = path.with_name(f".{path.name}.partial")
    with refusals_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            _remove(partial)
            try:
                yield partial
            finally:
                _remove(partial)


def _put(new: Path, path: Path) -> None:
    """Rename the directory `new` to `path`. What is there goes when that is done, and stays if it fails."""
    old = _aside(path)
    _remove(old)
    if path.exists() or path.is_symlink():
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        _put_back(path)
        raise
    _remove(old)


def _put_back(path: Path) -> None:
    """Undo the first of `_put`'s two renames, if the second never came."""
    old = _aside(path)
    if old.exists() and not path.exists():
        old.rename(path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old.partial")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
