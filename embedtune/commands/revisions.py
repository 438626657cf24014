"""What a run left at a git revision, in a DVC experiment or in the workspace: read from DVC's cache where need be."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from embedtune.commands.repository import locked_stages, project_in_git
from embedtune.config import paths
from embedtune.config.reading import load_params, parse_params
from embedtune.config.schema import defined_systems
from embedtune.core.errors import EmbedTuneError
from embedtune.evaluation.per_query import read_scores
from embedtune.evaluation.results import PER_QUERY

WORKSPACE = "workspace"


def text_at(revision: str, path: Path) -> str:
    """The text of a pipeline file at a git revision or DVC experiment, or in the workspace.

    Raises EmbedTuneError if there is no git repository, no such revision, or no copy of the file.
    """
    if revision == WORKSPACE:
        if not path.exists():
            raise EmbedTuneError(f"{path}: no such file; run `dvc repro`, or give another --system")
        return path.read_text(encoding="utf-8")
    place = project_in_git() / path  # as of a revision, DVC takes paths from git's root
    import dvc.api
    from dvc.scm import SCMError

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    try:
        with dvc.api.open(str(place), rev=revision, encoding="utf-8") as file:
            text: str = file.read()
            return text
    except SCMError as error:
        raise EmbedTuneError(f"{revision}: no such git revision or DVC experiment ({error})") from error
    except ImportError as error:  # such as dvc-s3
        raise EmbedTuneError(
            f"{path} is not in DVC's cache as of {revision}, and the remote cannot be asked: {error}; install it"
        ) from error
    except Exception as error:  # DVC's own errors and those of any remote's client
        raise EmbedTuneError(
            f"{path} cannot be read as of {revision} ({_told(error)}). Results are in DVC's cache, not in git: "
            f"get them from your remote by `git checkout {revision} && dvc fetch`, or make them again there by "
            "`dvc repro`; or give another --system"
        ) from error


def _told(error: Exception) -> str:
    """The error on one line: its text, or its name where it has none."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


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
            if path == paths.CORPUS:  # it may be large; its checksums are compared
                same = corpus_hash(first) == corpus_hash(other)
            else:
                same = text_at(first, path) == text_at(other, path)
            if not same:
                raise EmbedTuneError(
                    f"{path} differs between {first} and {other}: systems are only comparable on the same documents, "
                    "questions and judgments"
                )


def scores_at(revision: str, system: str) -> pd.DataFrame:
    """The per-query scores of a system at a revision; in the workspace, of one that params.yaml defines now."""
    if revision == WORKSPACE and system not in (known := defined_systems(load_params())):
        raise EmbedTuneError(
            f"{system}: no system of {paths.PARAMS} as it is now ({', '.join(known)}); what data/ has of it is of "
            "another run. Name the revision that has it, or give another --system or --second-system"
        )
    return read_scores(io.StringIO(text_at(revision, paths.run(system) / PER_QUERY)))


def corpus_hash(revision: str) -> str | None:
    """The MD5 checksum of data/corpus.jsonl: of the file itself in the workspace, if it is there, else by dvc.lock."""
    if revision == WORKSPACE and paths.CORPUS.exists():
        with paths.CORPUS.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    stages = locked_stages(text_at(revision, paths.DVC_LOCK), f"{paths.DVC_LOCK} of {revision}")
    outs = (out for stage in stages.values() for out in stage.get("outs", []))
    return next((out.get("md5") for out in outs if out["path"] == str(paths.CORPUS)), None)
