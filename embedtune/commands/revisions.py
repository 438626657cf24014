"""What a run left at a git revision, in a DVC experiment or in the workspace: read from DVC's cache where need be."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from embedtune.config import paths
from embedtune.config.reading import parse_params
from embedtune.core.errors import EmbedTuneError
from embedtune.evaluation.per_query import read_scores
from embedtune.evaluation.results import PER_QUERY

WORKSPACE = "workspace"


def text_at(revision: str, path: Path) -> str:
    """The text of a pipeline file at a git revision or DVC experiment, or in the workspace.

    Raises EmbedTuneError if the revision does not exist, or there is no copy of the file.
    """
    if revision == WORKSPACE:
        if not path.exists():
            raise EmbedTuneError(f"{path}: no such file; run `dvc repro`, or give another --system")
        return path.read_text(encoding="utf-8")
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError
    from dvc_data.index import DataIndexError

    try:
        with dvc.api.open(str(path), rev=revision, encoding="utf-8") as file:
            text: str = file.read()
            return text
    except SCMError as error:
        raise EmbedTuneError(f"{revision}: no such git revision or DVC experiment ({error})") from error
    except (DvcException, DataIndexError, FileNotFoundError) as error:
        raise EmbedTuneError(
            f"{path} cannot be read as of {revision}: {error}. If {revision} has it, get the file from your remote by "
            f"`git checkout {revision} && dvc fetch`, or run it again by `dvc repro` there; or give another --system"
        ) from error


def what_was_run(revision: str) -> tuple[str, str]:
    """The system that was judged at a revision (release.system), and its split (evaluate.split), by params.yaml.

    At revisions before systems had their section, it is the model that hybrid.model named.
    """
    params = parse_params(text_at(revision, paths.PARAMS), paths.PARAMS)
    system = params["release"]["system"] if "release" in params else params.get("hybrid", {}).get("model", "finetuned")
    return system, params["evaluate"]["split"]


def check_same_data(revisions: Sequence[str], split: str) -> None:
    """Raise EmbedTuneError if documents, questions or judgments differ: a difference could then come from the data."""
    first = revisions[0]
    for other in revisions[1:]:
        for path in (paths.CORPUS, paths.QUERIES / f"{split}.jsonl", paths.QRELS / f"{split}.tsv"):
            if path == paths.CORPUS:  # too large to read; its checksums are compared
                same = locked_hash(first, path) == locked_hash(other, path)
            else:
                same = text_at(first, path) == text_at(other, path)
            if not same:
                raise EmbedTuneError(
                    f"{path} differs between {first} and {other}: systems are only comparable on the same documents, "
                    "questions and judgments"
                )


def scores_at(revision: str, system: str) -> pd.DataFrame:
    """The per-query scores of a system at a revision."""
    return read_scores(io.StringIO(text_at(revision, paths.run(system) / PER_QUERY)))


def locked_hash(revision: str, path: Path) -> str | None:
    """The MD5 checksum of an output in dvc.lock at a revision; None if dvc.lock does not list it."""
    stages = yaml.safe_load(text_at(revision, paths.DVC_LOCK))["stages"].values()
    outs = (out for stage in stages for out in stage.get("outs", []))
    return next((out.get("md5") for out in outs if out["path"] == str(path)), None)
