"""calibrate: fit a calibration of the released system's scores on dev, and check it on the split to evaluate."""

import numpy as np

from embedtune.comparison.calibration import (
    MIN_QUESTIONS,
    Calibrated,
    Top1,
    calibrate,
    split_in_halves,
    top1_predictions,
)
from embedtune.config import paths
from embedtune.core import cli, files, json_files
from embedtune.core.seeds import generator
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.retrieval.rankings import read_rankings
from embedtune.retrieval.system import SYSTEM
from stages.running import run, stage_params


def main() -> None:
    """Write data/calibration.json, metrics/calibration.json and two curves."""
    params = stage_params()
    split, name = params.evaluate.split, json_files.read_json(paths.CHOICE)["chosen"]
    system = json_files.read_json(paths.run(name) / SYSTEM)
    ids = open_passages(paths.PASSAGES).document_ids
    dev = first_documents(name, "dev", ids)
    if split == "dev":  # a calibration must not be checked on the questions it was fitted on
        dev, held_out = split_in_halves(dev, generator(params.compare.seed, "calibrate"))
    else:
        held_out = first_documents(name, split, ids)
    found = calibrate(dev, held_out, params.calibrate.method, params.calibrate.precision)
    # a dense score is the mean inner product of a document's `best_passages` best passages
    of_scores = {key: system[key] for key in ("best_passages",) if key in system and "method" in found.learned}
    json_files.write_json(paths.CALIBRATION, {"system": name} | found.learned | of_scores)
    json_files.write_json(paths.CALIBRATION_METRICS, found.held_out)
    for path, curve in ((paths.RELIABILITY, found.reliability), (paths.REJECTION, found.rejection)):
        with files.atomic_file(path) as partial:
            curve.round(6).to_csv(partial, index=False)
    cli.say(f"calibrate: {outcome(found, split, params.calibrate.precision)}")
    if "flat" in found.learned:
        cli.say(
            f"calibrate: warning: every score means the same probability, since {found.learned['flat']}; dev questions "
            "that are harder for the system would tell scores apart"
        )


def first_documents(name: str, split: str, ids: list[str]) -> Top1:
    """A system's top document for each question of a split; `ids` are the documents' ids."""
    queries = read_queries(paths.QUERIES, paths.QRELS, split)
    if not queries:
        return Top1(np.empty(0), np.empty(0, dtype=bool))
    return top1_predictions(queries, read_rankings(paths.run(name), split), ids)


def outcome(found: Calibrated, split: str, wanted: float) -> str:
    """The outcome in a sentence; `wanted` is the precision asked for."""
    dev_questions, threshold = found.learned["dev_questions"], found.learned["threshold"]
    if "method" not in found.learned:
        return f"{dev_questions} dev questions are too few to learn from (at least {MIN_QUESTIONS})"
    if "answered" not in found.held_out:
        return f"no {split} question found a document to check it on"
    if threshold is None:
        return f"no score on dev gives a precision of {wanted:g}"
    return f"{threshold:.4f} answers {found.held_out['answered']:.0%} of {split} questions"


if __name__ == "__main__":
    run(main, "calibrate")
