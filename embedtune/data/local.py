"""Data of the user's own: whether a file or directory can be read to its end, and a copy of it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from embedtune.core.errors import ParameterError

LEFT_OUT = (".git", ".hg", ".dvc")  # which DVC, too, leaves out of a directory that a stage depends on


def unreadable(source: Path) -> Iterator[str]:
    """Yield what is wrong, with its place, for all in `source`, a file or a directory, that cannot be read.

    Links are followed. Where DVC meets a pipe, it waits for ever.
    """
    yield from _unreadable(source, frozenset())


def _unreadable(path: Path, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """As `unreadable`; `above` are the device and inode numbers of the directories that lead to `path`."""
    try:
        found = path.stat()
    except OSError as error:
        if path.is_symlink():
            yield f"{path} is a link that leads nowhere; remove or replace it"
        elif isinstance(error, FileNotFoundError):
            yield f"{path} does not exist; give a directory or a file"
        else:
            yield f"{path} cannot be read ({error.strerror})"
        return
    own = (found.st_dev, found.st_ino)
    if own in above:
        yield f"{path} is a link to a directory that it lies in itself; remove it"
    elif not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
        yield f"{path} is a pipe, a socket or a device; put a file in its place"
    elif not os.access(path, os.R_OK):
        yield f"{path} may not be read by this user; give the permission"
    elif stat.S_ISDIR(found.st_mode):
        for inner in sorted(path.iterdir()):
            if inner.name not in LEFT_OUT:
                yield from _unreadable(inner, above | {own})


def copy_local(source: Path, target: Path) -> None:
    """Copy a file, or a directory without its hidden files, into the directory `target`; what links lead to is copied.

    Raises ParameterError if there is none, or something in it cannot be read.
    """
    problems = list(unreadable(source))
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ParameterError("path", f"{problems[0]}{more}")
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    else:
        shutil.copyfile(source, target / source.name)
