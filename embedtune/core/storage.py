"""Why a file could not be written, in words: a full disk, a quota, a limit of size, a read-only disk, a permission.

Python's own errors carry an errno. Other libraries tell it in the text of an error of their own (Rust's `os error 28`,
FAISS's and Arrow's words of the system), or know only that less was written than was asked for (NumPy, torch).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embedtune.core.errors import EmbedTuneError


@dataclass(frozen=True)
class Refusal:
    """Why the system refused to write: `reason` says what is wrong, `mend` what to do, `about_file` if it is one file.

    A reason that is not about one file is about the whole disk.
    """

    reason: str
    mend: str
    about_file: bool = False


REFUSALS = {
    errno.ENOSPC: Refusal("the disk is full", "make room"),
    errno.EDQUOT: Refusal("your quota on this disk is used up", "make room or have the quota raised"),
    errno.EFBIG: Refusal(
        "a file is larger than the file system or `ulimit -f` allows", "raise the limit or use another disk"
    ),
    errno.EROFS: Refusal("the file system is read-only", "mount it for writing", about_file=True),
    errno.EACCES: Refusal("permission denied", "give this user the right to it", about_file=True),
    errno.EPERM: Refusal("the system does not permit this", "give this user the right to it", about_file=True),
}
CUT_SHORT = Refusal(
    "a file could not be written to its end; the disk is full, or a quota or a limit of file size is reached",
    "make room",
)
SHORT_WRITES = re.compile(r"requested and \d+ written|PytorchStreamWriter failed|unexpected pos \d+")  # NumPy, torch
NUMBERS = re.compile(r"(?:os error|errno) (\d+)", re.IGNORECASE)  # Rust, Arrow


def refusal(error: BaseException) -> Refusal | None:
    """Why the system refused to write, where that is what `error` or its cause is about; else None."""
    seen: BaseException | None = error
    cut_short = None
    while seen is not None:
        found = _named(seen)
        if found:
            return found
        if isinstance(seen, (OSError, RuntimeError)) and SHORT_WRITES.search(str(seen)):
            cut_short = CUT_SHORT
        seen = None if isinstance(seen, OSError) else seen.__cause__ or seen.__context__
    return cut_short


@contextlib.contextmanager
def refusals_explained(path: Path) -> Iterator[None]:
    """Turn an error of the body that `refusal` knows into an EmbedTuneError about the output `path`."""
    try:
        yield
    except EmbedTuneError:
        raise
    except Exception as error:
        found = refusal(error)
        if found is None:
            raise
        place, room = path, ""
        if found.about_file:
            place = Path(getattr(error, "filename", None) or path)
            if place.name.startswith(f".{path.name}."):  # its lock, or what is to become it
                place = path
        else:
            room = f" ({_free_gigabytes(path.parent):.1f} GB free)"
        raise EmbedTuneError(
            f"{place}: {found.reason}{room}; {found.mend} and run it again, nothing half-written was kept"
        ) from error


def _named(error: BaseException) -> Refusal | None:
    """The refusal that an error tells by its number or in the words of the system."""
    if isinstance(error, OSError) and error.errno is not None:
        return REFUSALS.get(error.errno)
    text = str(error)
    number = NUMBERS.search(text)
    if number and int(number[1]) in REFUSALS:
        return REFUSALS[int(number[1])]
    if not isinstance(error, RuntimeError):
        return None
    return next((found for known, found in REFUSALS.items() if os.strerror(known) in text), None)


def _free_gigabytes(folder: Path) -> float:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9
