"""calibrate: learn on dev what the tuned model's scores mean, and check it on the split to evaluate."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embedtune import cli, embeddings, files
from embedtune.calibration import (
    MIN_QUESTIONS,
    Answers,
    first_answers,
    fit,
    halves,
    measures,
    precision_from,
    rejection,
    reliability,
    thinned,
    threshold_for,
)
from embedtune.config import load_params
from embedtune.corpus import read_queries
from embedtune.passages import open_passages
from embedtune.search import rank_documents
from embedtune.seeds import generator

PLOTS = Path("metrics/plots")


def main() -> None:
    """Write data/calibration.json, metrics/calibration.json and two curves."""
    params = load_params()
    vectors = Path("data/embeddings") / params.hybrid.model
    passages = open_passages(Path("data/passages"))
    passage_vectors = embeddings.open_vectors(vectors, embeddings.PASSAGES)

    def answers(split: str) -> Answers:
        queries = read_queries(Path("data/queries"), Path("data/qrels"), split)
        if not queries:
            return Answers(np.empty(0), np.empty(0, dtype=bool))
        query_vectors = embeddings.open_vectors(vectors, embeddings.query_file(split))
        ranked = rank_documents(
            query_vectors,
            passage_vectors,
            passages.document,
            passages.document_ids,
            1,
            best_of=params.evaluate.best_passages,
        )
        return first_answers(queries, ranked, passages.document_ids)

    dev = answers("dev")
    if params.evaluate.split == "dev":  # what was learned on a question is not to be checked on it
        dev, held_out = halves(dev, generator(params.compare.seed, "calibrate"))
    else:
        held_out = answers(params.evaluate.split)
    counts = {"dev_questions": len(dev.scores), "questions": len(held_out.scores)}
    if len(dev.scores) < MIN_QUESTIONS:
        cli.say(f"calibrate: {len(dev.scores)} dev questions are too few to learn from (at least {MIN_QUESTIONS})")
        write(counts | {"threshold": None}, counts | {"threshold": None}, None, None)
        return
    calibration = fit(dev, params.calibrate.method)
    threshold = threshold_for(dev, params.calibrate.precision)
    wanted = {"precision_wanted": params.calibrate.precision, "precision_on_dev": precision_from(threshold, dev)}
    of_scores = {"best_passages": params.evaluate.best_passages}  # whose mean a score is
    learned = {"dev_questions": len(dev.scores), "threshold": threshold, **wanted, **of_scores, **calibration}
    if not len(held_out.scores):
        cli.say(f"calibrate: no {params.evaluate.split} question found a document to check it on")
        write(learned, counts | {"threshold": threshold}, None, None)
        return
    found = measures(calibration, threshold, held_out)
    write(
        learned,
        counts | {"threshold": threshold, **found},
        reliability(calibration, held_out),
        thinned(rejection(held_out)),
    )
    cli.say(
        f"calibrate: no score on dev gives a precision of {params.calibrate.precision:g}"
        if threshold is None
        else f"calibrate: {threshold:.4f} answers {found['answered']:.0%} of {params.evaluate.split} questions"
    )


def write(
    calibration: dict[str, Any], found: dict[str, Any], reliable: pd.DataFrame | None, rejected: pd.DataFrame | None
) -> None:
    """Both files and both curves; of questions too few, curves without a row."""
    files.write_json(Path("data/calibration.json"), calibration)
    files.write_json(Path("metrics/calibration.json"), found)
    empty = {"reliability": ["predicted", "right", "questions"], "rejection": ["threshold", "answered", "precision"]}
    for (name, columns), table in zip(empty.items(), (reliable, rejected), strict=True):
        with files.whole_file(PLOTS / f"{name}.csv") as partial:
            (pd.DataFrame(columns=columns) if table is None else table.round(6)).to_csv(partial, index=False)


if __name__ == "__main__":
    cli.run(main)
