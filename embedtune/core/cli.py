"""How a program ends: an error that the user can fix gives one message without a traceback, and exit code 1."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from embedtune.core.errors import EmbedTuneError
from embedtune.core.storage import refusal
from embedtune.core.visible import visible

SECONDS_FOR_THE_FIRST = 3
_log: list[Path] = []  # the file that what is said is written to, too, if any


def run(main: Callable[[], None], explain: Callable[[EmbedTuneError], str] = str, again: str = "run it again") -> None:
    """Call `main` and exit with a message on stderr for errors that the user can fix; others keep their traceback.

    These errors are EmbedTuneError, a file that the system refuses to write (see storage.py) and an interrupt from the
    keyboard. `explain` turns an EmbedTuneError into the message. `again` tells the user how to go on after the others.
    A character that the terminal's encoding lacks is written as an escape.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()  # a reader that is gone is noticed here, rather than at Python's end
    except EmbedTuneError as error:
        if _process():
            time.sleep(SECONDS_FOR_THE_FIRST)  # rank 0 prints an error common to all, and torchrun ends the rest
            _end(f"error: process {_process()}: {visible(explain(error))}")
        _end(f"error: {visible(explain(error))}")
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain once more at its end
        sys.exit(1)
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            _note(traceback.format_exc())
            raise
        _end(f"error: {refused.reason} ({getattr(error, 'filename', None) or error}); {refused.mend}, then {again}")
    except KeyboardInterrupt:
        _end(f"interrupted; {again}")


def log_to(path: Path) -> None:
    """Write what is said from here on to a file too, each line with its time; what stood there is replaced.

    Processes that torchrun started add to the file of the one that launched them. A file that cannot be written is
    none: it must not stop what it tells of.
    """
    _log[:] = [path]
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            path.write_text("", encoding="utf-8")


def _note(text: str) -> None:
    for path in _log:
        with contextlib.suppress(OSError), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def _end(text: str) -> NoReturn:
    _note(text)
    sys.exit(text)


def say_once(text: str) -> None:
    """Print a line on stderr as `say` does, but only from the process of rank 0."""
    if not _process():
        say(text)


def say(text: str) -> None:
    """Print a line on stderr, beside the progress bars: what the program will do, or what it wrote and where."""
    print(visible(text), file=sys.stderr, flush=True)
    _note(visible(text))


def show(text: str) -> None:
    """Print a result on stdout; control characters in it are shown, not obeyed."""
    print(visible(text))


def _process() -> int:
    """The rank that torchrun gave this process (RANK), or 0 without torchrun."""
    return int(os.environ.get("RANK", 0))
