"""calibrate: fit a calibration of the tuned model's scores on dev, and check it on the split to evaluate."""

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
from embedtune.config.reading import load_params
from embedtune.config.schema import Params
from embedtune.core import cli, files, json_files
from embedtune.core.seeds import generator
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.models.vector_store import open_store
from embedtune.retrieval.searcher import DenseSearcher, stored_vectors
from stages.running import run


def main() -> None:
    """Write data/calibration.json, metrics/calibration.json and two curves."""
    params = load_params()
    split = params.evaluate.split
    dev = first_documents(params, "dev")
    if split == "dev":  # a calibration must not be checked on the questions it was fitted on
        dev, held_out = split_in_halves(dev, generator(params.compare.seed, "calibrate"))
    else:
        held_out = first_documents(params, split)
    found = calibrate(dev, held_out, params.calibrate.method, params.calibrate.precision)
    # a score is the mean inner product of a document's `best_passages` best passages
    of_scores = {"best_passages": params.evaluate.best_passages} if "method" in found.learned else {}
    json_files.write_json(paths.CALIBRATION, found.learned | of_scores)
    json_files.write_json(paths.CALIBRATION_METRICS, found.held_out)
    for path, curve in ((paths.RELIABILITY, found.reliability), (paths.REJECTION, found.rejection)):
        with files.atomic_file(path) as partial:
            curve.round(6).to_csv(partial, index=False)
    cli.say(f"calibrate: {outcome(found, split, params.calibrate.precision)}")


def first_documents(params: Params, split: str) -> Top1:
    """The tuned model's top document for each question of a split, by exact search."""
    queries = read_queries(paths.QUERIES, paths.QRELS, split)
    if not queries:
        return Top1(np.empty(0), np.empty(0, dtype=bool))
    store, best_of = open_store(paths.embeddings(params.hybrid.model)), params.evaluate.best_passages
    vectors_of = stored_vectors(store, {split: queries})
    searcher = DenseSearcher(vectors_of, store.passages, open_passages(paths.PASSAGES), best_of=best_of)
    return top1_predictions(queries, searcher.rank(queries, 1), searcher.document_ids)


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
