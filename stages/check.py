"""check: hold the parameters against data and model before anything costs; encode, mine and train wait for it."""

from embedtune.config import paths
from embedtune.config.data_checks import Facts, refuse_what_cannot_work, warnings
from embedtune.config.recipe import filled, train_settings
from embedtune.config.schema import CONTRASTIVE, Params
from embedtune.config.systems import DATASET
from embedtune.core import cli, json_files
from embedtune.core.errors import Problems
from embedtune.data.corpus import read_queries
from embedtune.data.passages import open_passages
from embedtune.models.settings import Settings, read_dimension, read_settings
from embedtune.retrieval.indexes import check_factory
from embedtune.training.teacher import refuse_flat_targets
from stages.running import run, stage_params


def main() -> None:
    """Write data/checked.json, the same whenever nothing is wrong, and metrics/check.json with the warnings."""
    params = stage_params()
    model = read_settings(paths.BASE)
    facts = facts_of(params, model)
    values = filled(train_settings(params, facts.train, model.normalize))
    problems = Problems()
    refuse_what_cannot_work(params, values, facts, paths.PARAMS, problems)
    problems.raise_if_any()
    rows = min(facts.passages, params.index.train_rows)
    check_factory(params.index.factory, params.evaluate.index_search, facts.dimension, rows)
    if any(stage.teacher == DATASET for stage in params.rounds.values()):
        scores = [list(query.scores.values()) for query in read_queries(paths.QUERIES, paths.QRELS, "train")]
        refuse_flat_targets(scores, params.train.teacher_temperature)
    doubts = list(warnings(params, values, facts, paths.PARAMS))
    for doubt in doubts:
        cli.say(f"check: WARNING: {doubt}")
    json_files.write_json(paths.CHECK, {"warnings": doubts})
    json_files.write_json(paths.CHECKED, {"checked": True})


def facts_of(params: Params, model: Settings) -> Facts:
    """The figures of data and base model."""
    questions = {split: read_queries(paths.QUERIES, paths.QRELS, split) for split in ("train", "dev")}
    split = params.evaluate.split
    evaluated = questions.get(split) or read_queries(paths.QUERIES, paths.QRELS, split)
    return Facts(
        train=sum(bool(query.relevant()) for query in questions["train"])
        if params.train.objective == CONTRASTIVE
        else sum(len(query.judgments) for query in questions["train"]),
        dev=len(questions["dev"]),
        evaluated=len(evaluated),
        passages=len(open_passages(paths.PASSAGES)),
        scored=all(query.scores for query in questions["train"]),
        normalize=model.normalize,
        judged=all(0 <= grade <= 1 for query in questions["train"] for grade in query.judgments.values()),
        dimension=read_dimension(paths.BASE),
        max_tokens=model.max_tokens,
    )


if __name__ == "__main__":
    run(main, "train", "index", "evaluate")
