"""An exclusive lock on an output. The operating system releases it when the process that holds it dies.

A file system may have no locks: NFS without a lock daemon, Lustre mounted without flock. Outputs are then written
without one, and the user is told so once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from embedtune.core import cli
from embedtune.core.errors import EmbedTuneError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock `path` against other writers. Raises EmbedTuneError at once when another process holds the lock."""
    lock_path = path.with_name(f".{path.name}.lock")
    with lock_path.open("a+") as lock:
        held = _acquire(lock, lock_path, path)
        try:
            if held:
                lock.truncate(0)
                lock.write(str(os.getpid()))
                lock.flush()
            yield
        finally:
            lock_path.unlink(missing_ok=True)  # safe while locked: no other writer waits for this file


def _acquire(lock: IO[str], lock_path: Path, path: Path) -> bool:
    """Take the lock of an opened file; return False if its file system has no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not lock_path.exists() or not os.path.samestat(os.fstat(lock.fileno()), lock_path.stat()):
            raise BlockingIOError("the file of the lock was replaced")
    except BlockingIOError as error:
        lock.seek(0)
        raise EmbedTuneError(
            f"{path}: process {lock.read().strip() or '(unknown)'} is still writing it; "
            "wait for that process to end, or kill it, then run it again"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _say_without_locks(os.strerror(error.errno))
        return False
    return True


@functools.cache
def _say_without_locks(reason: str) -> None:
    cli.say(f"this file system has no locks ({reason}); run the project only once at a time")
