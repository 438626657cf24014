"""An exclusive lock on an output. The operating system releases it when the process that holds it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from embedtune.core.errors import EmbedTuneError


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock `path` against other writers. Raises EmbedTuneError at once when another process holds the lock."""
    lock_path = path.with_name(f".{path.name}.lock")
    with lock_path.open("a+") as lock:
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
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock_path.unlink(missing_ok=True)  # safe while locked: no other writer waits for this file
