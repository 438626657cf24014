"""How a stage ends: an error a user can mend is one message without a traceback and exit code 1."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable

from embedtune.errors import EmbedTuneError

SECONDS_FOR_THE_FIRST = 3


def run(main: Callable[[], None]) -> None:
    """Call `main` and turn the errors that users can mend into messages on stderr; others keep their traceback."""
    try:
        main()
    except EmbedTuneError as error:
        if _process():
            time.sleep(SECONDS_FOR_THE_FIRST)  # what all processes have to say the first one says, and ends them
            sys.exit(f"error: process {_process()}: {error}")
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.exit(f"error: the disk is full ({error.filename or error}); make room and run `dvc repro` again")
        raise
    except KeyboardInterrupt:
        sys.exit(
            "interrupted; `dvc repro` starts this stage again (`train` from its last checkpoint, `encode` from its "
            "last finished shard)"
        )


def say_once(text: str) -> None:
    """As `say`, where several processes would: the first one speaks."""
    if not _process():
        say(text)


def say(text: str) -> None:
    """A line on stderr, where the progress bars are, for what will be done and what was written where."""
    print(text, file=sys.stderr, flush=True)


def _process() -> int:
    """This process's number among those that torchrun started; 0 alone."""
    return int(os.environ.get("RANK", 0))
