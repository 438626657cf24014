"""Whether a stage's outputs are up to date with the current code, parameters and data, as DVC determines it.

The data need not be present: in a clone without it, dvc.lock records what the committed results were made from.
"""

from __future__ import annotations

import contextlib
import io
import logging

from embedtune.commands.repository import check_repository
from embedtune.core.errors import EmbedTuneError


def check_fresh(stage: str) -> None:
    """Raise EmbedTuneError if `stage` or a stage before it would run again; the error names the first of them.

    So it does if DVC can read the project's git repository or its dvc.lock no longer.
    """
    check_repository()
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    try:
        with Repo() as repo, contextlib.redirect_stdout(io.StringIO()):
            stale = repo.reproduce(targets=[stage], dry=True, allow_missing=True)
    except ReproductionError as error:  # a stage would run, but its input data is missing
        raise EmbedTuneError(_out_of_date(stage, str(error).rpartition(" ")[2].strip("'"))) from error
    except DvcException as error:
        raise EmbedTuneError(f"DVC cannot tell whether the results of {stage} are current: {error}") from error
    if stale:
        raise EmbedTuneError(_out_of_date(stage, stale[0].addressing))


def _out_of_date(stage: str, first: str) -> str:
    return f"the results of {stage} are not of the code, parameters and data as they are now ({first}); run `dvc repro`"
