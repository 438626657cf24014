"""Progress bars: on a terminal they move; in a log they are a line now and then."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_SECONDS = 30.0  # between two lines where stderr is no terminal


def quiet_transformers() -> None:
    """Turn off transformers' own bars and advice: stages say themselves what they do."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def bar(*arguments: Any, **options: Any) -> Any:
    """tqdm on stderr, updated ten times a second on a terminal, else every `LOG_SECONDS`."""
    options["mininterval"] = 0.1 if sys.stderr.isatty() else LOG_SECONDS
    return tqdm(*arguments, **options)
