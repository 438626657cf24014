"""Compare two runs of the pipeline question by question: git revisions, DVC experiments, or the workspace.

    embedtune compare HEAD~1 workspace
    embedtune compare main tidal-dory --system bm25 --questions 10
    embedtune compare main workspace --system finetuned --second-system round2
    embedtune compare main tidal-dory --json

The scores of each question at a revision are read from DVC's cache.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import yaml

from embedtune.comparison.significance import Resampling, paired_differences
from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core.errors import EmbedTuneError
from embedtune.evaluation.per_query import most_changed, read_scores, shown_measure
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

    try:
        with dvc.api.open(str(path), rev=revision, encoding="utf-8") as file:
            text: str = file.read()
            return text
    except SCMError as error:
        raise EmbedTuneError(f"{revision}: no such git revision or DVC experiment ({error})") from error
    except (DvcException, FileNotFoundError) as error:
        raise EmbedTuneError(
            f"{path} cannot be read as of {revision}: {error}. If {revision} has it, get the file from your remote by "
            f"`git checkout {revision} && dvc fetch`, or run it again by `dvc repro` there; or give another --system"
        ) from error


def what_was_run(revision: str) -> tuple[str, str]:
    """The system that was judged at a revision (release.system), and its split (evaluate.split), by params.yaml.

    At revisions before systems had their section, it is the model that hybrid.model named.
    """
    params = yaml.safe_load(text_at(revision, paths.PARAMS))
    system = params["release"]["system"] if "release" in params else params.get("hybrid", {}).get("model", "finetuned")
    return system, params["evaluate"]["split"]


def locked_hash(revision: str, path: Path) -> str | None:
    """The MD5 checksum of an output in dvc.lock at a revision; None if dvc.lock does not list it."""
    stages = yaml.safe_load(text_at(revision, paths.DVC_LOCK))["stages"].values()
    outs = (out for stage in stages for out in stage.get("outs", []))
    return next((out.get("md5") for out in outs if out["path"] == str(path)), None)


def compare_revisions(systems: dict[str, str], split: str, resampling: Resampling) -> dict[str, Any]:
    """Compare two revisions: {questions, measures: measure -> means and statistics of the difference, scores}.

    `systems` is revision -> system. `scores` is revision -> per-query scores in the measures that both have. Raises
    EmbedTuneError if a file cannot be read, if no measure is common, or if documents, questions or judgments differ: a
    difference could then come from the data.
    """
    first, second = systems
    for path in (paths.CORPUS, paths.QUERIES / f"{split}.jsonl", paths.QRELS / f"{split}.tsv"):
        if path == paths.CORPUS:  # too large to read; its checksums are compared
            same = locked_hash(first, path) == locked_hash(second, path)
        else:
            same = text_at(first, path) == text_at(second, path)
        if not same:
            raise EmbedTuneError(
                f"{path} differs between {first} and {second}: systems are only comparable on the same documents, "
                "questions and judgments"
            )
    tables = {
        revision: read_scores(io.StringIO(text_at(revision, paths.run(system) / PER_QUERY)))
        for revision, system in systems.items()
    }
    common = [measure for measure in tables[first].columns if measure in tables[second].columns]
    if not common:
        raise EmbedTuneError(f"{first} and {second} have no measure in common; see evaluate.cutoffs of both")
    scores = {revision: table[common] for revision, table in tables.items()}
    found = paired_differences(scores, resampling)[f"{second}_over_{first}"]
    measures = {
        measure: {revision: float(table[measure].mean()) for revision, table in scores.items()} | row
        for measure, row in found.items()
    }
    return {"questions": len(scores[first]), "measures": measures, "scores": scores}


def table(found: dict[str, Any], systems: dict[str, str], confidence: float) -> str:
    """The result of `compare_revisions` as a table for the terminal."""
    first, second = systems
    width = max(len(measure) for measure in found["measures"])
    columns = [max(8, len(first)), max(8, len(second))]
    named = [f"{system} of {revision}" for revision, system in systems.items()]
    lines = [
        f"{systems[first] if len(set(systems.values())) == 1 else ' against '.join(named)}, "
        f"{found['questions']} questions",
        f"{'':{width}}  {first:>{columns[0]}}  {second:>{columns[1]}}  {'change':>8}  {'interval':>18}  {'p':>7}  "
        f"{'could be shown':>14}  better / worse / equal",
    ]
    for measure, row in found["measures"].items():
        values = "".join(f"  {row[name]:{size}.4f}" for name, size in zip((first, second), columns, strict=True))
        shown = "" if row["detectable"] is None else f"{row['detectable']:.4f}"
        lines.append(
            f"{measure:{width}}{values}  {row['difference']:+8.4f}  [{row['low']:+.4f}, {row['high']:+.4f}]  "
            f"{row['p_value']:7.4f}  {shown:>14}  {row['wins']} / {row['losses']} / {row['ties']}"
        )
    lines.append(
        f"Intervals hold the truth {100 * confidence:g}% of the time; p: how often chance alone gives a difference as "
        "great; could be shown: the true difference that so many questions reveal four times out of five."
    )
    return "\n".join(lines)


def changed_questions(first: pd.Series, second: pd.Series, questions: dict[str, str], count: int) -> str:
    """The `count` questions that gained and lost most, as text: both scores, id and text; `questions` is id -> text."""
    gained, lost = most_changed(first, second, count)
    lines = []
    for title, ids in ((f"gained most in {first.name}", gained), (f"lost most in {first.name}", lost)):
        lines.append(f"{title}:" if ids else f"{title}: none")
        lines += [f"  {first[q]:.4f} -> {second[q]:.4f}  {q}  {questions.get(q, '')}" for q in ids]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the table and the questions that changed most, or everything as JSON."""
    parser = argparse.ArgumentParser(prog="embedtune compare", description="Compare two runs question by question.")
    parser.add_argument("first", help="a git revision, a DVC experiment, or workspace")
    parser.add_argument("second", help="the same")
    parser.add_argument("--system", help="one of systems in params.yaml; by default each release.system")
    parser.add_argument("--second-system", metavar="SYSTEM", help="that of the second revision, where it is another")
    parser.add_argument("--questions", type=int, default=3, metavar="N", help="list N questions that gained and lost")
    parser.add_argument("--json", action="store_true", help="print JSON, with the scores of every question")
    given = parser.parse_args(arguments)
    if given.first == given.second:
        raise EmbedTuneError(f"{given.first} and {given.second} are the same; give two revisions")
    params = load_params()
    (model, split), (second_model, second_split) = (what_was_run(revision) for revision in (given.first, given.second))
    if split != second_split:
        raise EmbedTuneError(
            f"{given.first} evaluated the split {split}, {given.second} {second_split}: they share no questions"
        )
    systems = {
        given.first: given.system or model,
        given.second: given.second_system or given.system or second_model,
    }
    resampling = Resampling(params.compare.confidence, params.compare.resamples, params.compare.seed)
    found = compare_revisions(systems, split, resampling)
    if given.json:
        scores = {revision: scored.to_dict(orient="index") for revision, scored in found["scores"].items()}
        print(json.dumps({"systems": systems, **found, "scores": scores}, indent=2, ensure_ascii=False))
        return
    print(table(found, systems, params.compare.confidence))
    measure = shown_measure(list(found["measures"]))
    rows = map(orjson.loads, text_at(given.second, paths.QUERIES / f"{split}.jsonl").splitlines())
    texts = {row["_id"]: row["text"] for row in rows}
    first, second = (found["scores"][revision][measure] for revision in (given.first, given.second))
    print(changed_questions(first, second, texts, given.questions))
