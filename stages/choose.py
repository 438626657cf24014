"""choose: decide on dev whether the tuned system or its baseline is released."""

import numpy as np
from numpy.typing import NDArray

from embedtune.comparison.choice import advice, choose, sentence
from embedtune.config import paths
from embedtune.config.schema import Params
from embedtune.core import cli, json_files
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.measures import per_query_scores
from embedtune.retrieval.rankings import read_rankings
from stages.running import in_words, run, stage_params


def main() -> None:
    """Write metrics/choice.json."""
    params = stage_params()
    system, baseline, measure = params.release.system, params.release.baseline, params.train.metric_for_best_model
    dev, ids = read_queries(paths.QUERIES, paths.QRELS, "dev"), open_passages(paths.PASSAGES).document_ids
    cutoff = int(measure.partition("@")[2])

    def scores(name: str) -> NDArray[np.float64] | None:
        if not dev:
            return None
        return per_query_scores(dev, read_rankings(paths.run(name), "dev"), ids, [cutoff])[measure].to_numpy()

    choice = choose(system, baseline, scores(system), scores(baseline), measure)
    to_try = [in_words(text, "dataset", "train") for text in advice(choice, warnings_of(params, system))]
    json_files.write_json(paths.CHOICE, choice | {"try": to_try})
    cli.say(f"choose: {sentence(choice)}")
    for text in to_try:
        cli.say(f"choose: to try: {text}")


def warnings_of(params: Params, system: str) -> list[str]:
    """The warnings of the training of a system's cross-encoder or embedding model, if a training made it."""
    if system in params.rerankers:
        return list(json_files.read_json(paths.training_metrics(system))["warnings"])
    fusion = params.fusions.get(system)
    model = fusion.dense if fusion else system
    mixture = params.mixtures.get(model)
    trained = mixture.model if mixture else model
    found: list[str] = []
    if trained in params.rounds:
        found = json_files.read_json(paths.training_metrics(trained))["warnings"]
    return found


if __name__ == "__main__":
    run(main)
