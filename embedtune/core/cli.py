"""How a program ends: an error that the user can fix gives one message without a traceback, and exit code 1."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable

from embedtune.core.errors import EmbedTuneError
from embedtune.core.storage import refusal
from embedtune.core.visible import visible

SECONDS_FOR_THE_FIRST = 3


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
            sys.exit(f"error: process {_process()}: {visible(explain(error))}")
        sys.exit(f"error: {visible(explain(error))}")
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain once more at its end
        sys.exit(1)
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            raise
        sys.exit(f"error: {refused.reason} ({getattr(error, 'filename', None) or error}); {refused.mend}, then {again}")
    except KeyboardInterrupt:
        sys.exit(f"interrupted; {again}")


def say_once(text: str) -> None:
    """Print a line on stderr as `say` does, but only from the process of rank 0."""
    if not _process():
        say(text)


def say(text: str) -> None:
    """Print a line on stderr, beside the progress bars: what the program will do, or what it wrote and where."""
    print(visible(text), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print a result on stdout; control characters in it are shown, not obeyed."""
    print(visible(text))


def _process() -> int:
    """The rank that torchrun gave this process (RANK), or 0 without torchrun."""
    return int(os.environ.get("RANK", 0))
