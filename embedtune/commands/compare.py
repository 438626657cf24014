"""Compare two runs of the pipeline question by question: git revisions, DVC experiments, or the workspace.

    embedtune compare HEAD~1 workspace
    embedtune compare main tidal-dory --system bm25 --questions 10
    embedtune compare main workspace --system finetuned --second-system round2
    embedtune compare main tidal-dory --json
    embedtune compare seed1 seed2 seed3 --seeds

With --seeds, runs that differ in train.seed alone are pooled: the gain of release.system over release.baseline, its
spread over the seeds, and an interval over seeds and questions.

The scores of each question at a revision are read from DVC's cache.
"""

from __future__ import annotations

import argparse
from typing import Any

import orjson
import pandas as pd

from embedtune.commands.revisions import check_same_data, scores_at, text_at, what_was_run
from embedtune.commands.seed_pool import pool_seeds, seeds_table
from embedtune.comparison.significance import Resampling, paired_differences
from embedtune.comparison.words import caveat
from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.config.schema import Params
from embedtune.core import cli
from embedtune.core.errors import EmbedTuneError
from embedtune.core.visible import json_text, one_line
from embedtune.evaluation.per_query import most_changed, shown_measure


def compare_revisions(systems: dict[str, str], split: str, resampling: Resampling) -> dict[str, Any]:
    """Compare two revisions: {questions, measures: measure -> means and statistics of the difference, scores}.

    `systems` is revision -> system. `scores` is revision -> per-query scores in the measures that both have. Raises
    EmbedTuneError if a file cannot be read, if no measure is common, or if documents, questions or judgments differ: a
    difference could then come from the data.
    """
    first, second = systems
    check_same_data([first, second], split)
    tables = {revision: scores_at(revision, system) for revision, system in systems.items()}
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


def table(found: dict[str, Any], systems: dict[str, str], split: str, confidence: float) -> str:
    """The result of `compare_revisions` on the questions of `split` as a table for the terminal."""
    first, second = systems
    width = max(len(measure) for measure in found["measures"])
    columns = [max(8, len(first)), max(8, len(second))]
    named = [f"{system} of {revision}" for revision, system in systems.items()]
    lines = [
        f"{systems[first] if len(set(systems.values())) == 1 else ' against '.join(named)}, "
        f"{found['questions']} {split} questions",
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
    lines += [caveat(split)] if caveat(split) else []
    return "\n".join(lines)


def changed_questions(first: pd.Series, second: pd.Series, questions: dict[str, str], count: int) -> str:
    """The `count` questions that gained and lost most, as text: both scores, id and text; `questions` is id -> text."""
    gained, lost = most_changed(first, second, count)
    lines = []
    for title, ids in ((f"gained most in {first.name}", gained), (f"lost most in {first.name}", lost)):
        lines.append(f"{title}:" if ids else f"{title}: none")
        lines += [f"  {first[q]:.4f} -> {second[q]:.4f}  {q}  {one_line(questions.get(q, ''))}" for q in ids]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the table and the questions that changed most, or everything as JSON."""
    parser = argparse.ArgumentParser(prog="embedtune compare", description="Compare two runs question by question.")
    parser.add_argument("revisions", nargs="+", metavar="REVISION", help="git revisions, DVC experiments, or workspace")
    parser.add_argument("--seeds", action="store_true", help="pool three runs or more that differ in train.seed alone")
    parser.add_argument("--system", help="one of systems in params.yaml; by default each release.system")
    parser.add_argument("--second-system", metavar="SYSTEM", help="that of the second revision, where it is another")
    parser.add_argument("--questions", type=int, default=3, metavar="N", help="list N questions that gained and lost")
    parser.add_argument("--json", action="store_true", help="print JSON, with the scores of every question")
    given = parser.parse_args(arguments)
    if len(set(given.revisions)) < len(given.revisions):
        raise EmbedTuneError(f"{', '.join(given.revisions)}: some are the same; give different revisions")
    params = load_params()
    if given.seeds:
        pool = pool_seeds(given.revisions, params.compare.confidence)
        cli.show(json_text(pool) if given.json else seeds_table(pool, params.compare.confidence))
        return
    if len(given.revisions) != 2:
        raise EmbedTuneError(f"expected two revisions, or three and more with --seeds, got {len(given.revisions)}")
    compare_two(given, params)


def compare_two(given: argparse.Namespace, params: Params) -> None:
    """Print how two revisions compare."""
    first, second = given.revisions
    (model, split), (second_model, second_split) = (what_was_run(revision) for revision in given.revisions)
    if split != second_split:
        raise EmbedTuneError(f"{first} evaluated the split {split}, {second} {second_split}: they share no questions")
    systems = {first: given.system or model, second: given.second_system or given.system or second_model}
    resampling = Resampling(params.compare.confidence, params.compare.resamples, params.compare.seed)
    found = compare_revisions(systems, split, resampling)
    if given.json:
        scores = {revision: scored.to_dict(orient="index") for revision, scored in found["scores"].items()}
        cli.show(json_text({"systems": systems, **found, "scores": scores}))
        return
    cli.show(table(found, systems, split, params.compare.confidence))
    measure = shown_measure(list(found["measures"]))
    rows = map(orjson.loads, text_at(second, paths.QUERIES / f"{split}.jsonl").splitlines())
    texts = {row["_id"]: row["text"] for row in rows}
    before, after = (found["scores"][revision][measure] for revision in given.revisions)
    cli.show(changed_questions(before, after, texts, given.questions))
