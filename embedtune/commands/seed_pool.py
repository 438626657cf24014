"""`embedtune compare --seeds`: runs that differ in the seed of their training alone, pooled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedtune.commands.revisions import check_same_data, scores_at, text_at
from embedtune.comparison.seeds import pooled
from embedtune.comparison.significance import check_same_questions
from embedtune.comparison.words import caveat
from embedtune.config import paths
from embedtune.config.reading import parse_params
from embedtune.core.errors import EmbedTuneError


def pool_seeds(revisions: Sequence[str], confidence: float) -> dict[str, Any]:
    """{system, baseline, seeds, split, questions, measures: measure -> means and `pooled` statistics (see seeds.py)}.

    Raises EmbedTuneError unless there are three runs or more, of the same data, that differ in train.seed alone.
    """
    if len(revisions) < 3:
        raise EmbedTuneError(f"--seeds: two runs tell no spread; give three or more, got {len(revisions)}")
    parameters = {r: parse_params(text_at(r, paths.PARAMS), paths.PARAMS) for r in revisions}
    for revision, content in parameters.items():
        if "release" not in content:
            raise EmbedTuneError(f"{revision}: its params.yaml names no release; pool runs of this version")
    seeds = {revision: content["train"].pop("seed") for revision, content in parameters.items()}
    first = revisions[0]
    for revision, content in parameters.items():
        differing = [name for name in content if content[name] != parameters[first].get(name)]
        if differing or content.keys() != parameters[first].keys():
            raise EmbedTuneError(
                f"{first} and {revision} differ in more than train.seed: see {', '.join(differing) or 'the sections'} "
                "of params.yaml"
            )
    if len(set(seeds.values())) < len(revisions):
        raise EmbedTuneError(
            f"--seeds: expected a seed of its own for each run, got {', '.join(map(str, seeds.values()))}"
        )
    release, split = parameters[first]["release"], parameters[first]["evaluate"]["split"]
    check_same_data(revisions, split)
    system, baseline = ([scores_at(r, release[role]) for r in revisions] for role in ("system", "baseline"))
    check_same_questions({**dict(zip(revisions, system, strict=True)), "the baseline": baseline[0]})
    measures = {}
    for measure in system[0].columns:
        ours, theirs = (np.array([table[measure] for table in tables]) for tables in (system, baseline))
        means = {"baseline": float(theirs.mean()), "system": float(ours.mean())}
        measures[str(measure)] = means | pooled(ours - theirs, confidence)
    found = {"seeds": list(seeds.values()), "split": split, "questions": len(system[0]), "measures": measures}
    return {**release, **found}


def seeds_table(found: dict[str, Any], confidence: float) -> str:
    """The result of `pool_seeds` as a table for the terminal."""
    system, baseline = found["system"], found["baseline"]
    width = max(len(measure) for measure in found["measures"])
    columns = [max(8, len(baseline)), max(8, len(system))]
    lines = [
        f"{system} over {baseline}, {len(found['seeds'])} seeds ({', '.join(map(str, found['seeds']))}), "
        f"{found['questions']} {found['split']} questions",
        f"{'':{width}}  {baseline:>{columns[0]}}  {system:>{columns[1]}}  {'gain':>8}  {'over seeds':>10}  "
        f"{'interval':>18}",
    ]
    for measure, row in found["measures"].items():
        values = f"  {row['baseline']:{columns[0]}.4f}  {row['system']:{columns[1]}.4f}"
        spread = f"± {row['seed_deviation']:.4f}"
        lines.append(
            f"{measure:{width}}{values}  {row['gain']:+8.4f}  {spread:>10}  [{row['low']:+.4f}, {row['high']:+.4f}]"
        )
    lines.append(
        f"± is the standard deviation of the seeds' gains; intervals are of {100 * confidence:g}%, for other seeds and "
        "other questions."
    )
    lines += [caveat(found["split"])] if caveat(found["split"]) else []
    return "\n".join(lines)
