"""How a stage ends: an error a user can mend is one message without a traceback and exit code 1."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from embedtune.errors import EmbedTuneError


def run(main: Callable[[], None]) -> None:
    """Call `main` and turn the errors that users can mend into messages on stderr; others keep their traceback."""
    try:
        main()
    except EmbedTuneError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            sys.exit(f"error: the disk is full ({error.filename or error}); make room and run `dvc repro` again")
        raise
    except KeyboardInterrupt:
        sys.exit("interrupted; `dvc repro` starts this stage again")


def say(text: str) -> None:
    """A line on stderr, where the progress bars are, for what will be done and what was written where."""
    print(text, file=sys.stderr, flush=True)
