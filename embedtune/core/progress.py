"""Progress bars: animated on a terminal, an occasional line in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_SECONDS = 30.0  # between two lines when stderr is not a terminal
DELAY_SECONDS = 0.5  # what takes less shows no bar


def quiet_transformers() -> None:
    """Turn off transformers' own progress bars and warnings; the stages report their progress themselves."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def bar(*arguments: Any, **options: Any) -> Any:
    """A tqdm progress bar on stderr, updated ten times a second on a terminal, else every `LOG_SECONDS`.

    What takes less than `DELAY_SECONDS` shows none.
    """
    options |= {"mininterval": 0.1 if sys.stderr.isatty() else LOG_SECONDS, "delay": DELAY_SECONDS}
    return tqdm(*arguments, **options)
