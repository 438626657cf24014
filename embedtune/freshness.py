"""Whether what a stage wrote is of the code, parameters and data as they are now, by DVC's own reckoning.

    python -m embedtune.freshness report      exits with 1 where `dvc repro report` would run anything

Data need not be there: in a clone that has none, dvc.lock tells what the committed results were made of.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys

from embedtune import cli
from embedtune.errors import EmbedTuneError


def check_fresh(stage: str) -> None:
    """Raise EmbedTuneError when `stage` or one before it would run again, and name the first of them."""
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    try:
        with Repo() as repo, contextlib.redirect_stdout(io.StringIO()):
            stale = repo.reproduce(targets=[stage], dry=True, allow_missing=True)
    except ReproductionError as error:  # what would run lacks the data to run on
        raise EmbedTuneError(_out_of_date(stage, str(error).rpartition(" ")[2].strip("'"))) from error
    except DvcException as error:
        raise EmbedTuneError(f"DVC cannot tell whether the results of {stage} are current: {error}") from error
    if stale:
        raise EmbedTuneError(_out_of_date(stage, stale[0].addressing))


def _out_of_date(stage: str, first: str) -> str:
    return f"the results of {stage} are not of the code, parameters and data as they are now ({first}); run `dvc repro`"


def main() -> None:
    """Check the stage that is named on the command line."""
    check_fresh(sys.argv[1])


if __name__ == "__main__":
    cli.run(main)
