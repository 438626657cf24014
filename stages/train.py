"""train: fine-tune a model on mined rows, with torchrun on several GPUs (`python -m stages.train finetuned`)."""

from pathlib import Path
from typing import Any

from embedtune.compute import distributed
from embedtune.compute.device import pick_device
from embedtune.compute.memory import keep_freed_memory
from embedtune.config import paths
from embedtune.config.recipe import (
    PRETRAINED,
    FilledTrain,
    Setting,
    filled,
    recipe_name,
    train_settings,
    with_temperature,
)
from embedtune.config.schema import CONTRASTIVE, Params
from embedtune.config.systems import BASE, DATASET, NONE
from embedtune.core import cli
from embedtune.data.passages import open_passages
from embedtune.evaluation.dev_evaluation import DevSet, read_dev_set
from embedtune.mining.mined_rows import MinedRow, read_mined
from embedtune.models.settings import read_settings
from embedtune.models.tokenization import load_tokenizer
from embedtune.models.vector_store import STORE, open_store
from embedtune.training.fine_tune import CUTOFF
from embedtune.training.objectives.contrastive import Contrastive
from embedtune.training.objectives.objective import Objective
from embedtune.training.objectives.scored_pairs import ScoredPairs, start_of
from embedtune.training.options import from_section
from embedtune.training.teacher import refuse_flat_targets
from embedtune.training.temperature import far_from_fitted, temperature_of
from embedtune.training.training_data import TrainingSet, read_training_set
from stages.running import in_words, name_given, run, stage_params
from stages.training import Job, across_processes, describe, train

DEV = [paths.QUERIES / "dev.jsonl", paths.QRELS / "dev.tsv", paths.DEV_POOL, paths.embeddings(BASE) / STORE]


def main() -> None:
    """Write models/<round>, metrics/training/<round>.json and the loss curve."""
    params = stage_params()
    name = name_given(params.rounds)
    across_processes("train", name, params.train.nproc_per_node, lambda: train_round(params, name))


def train_round(params: Params, name: str) -> None:
    """Train the round together with the other processes, if any."""
    device = pick_device(params.compute.device)
    keep_freed_memory(device)
    base, rows = paths.model(params.rounds[name].start), read_mined(paths.mined(name))
    settings, doubts = used_settings(params, rows, base)
    values = {key: setting.value for key, setting in settings.items()}
    derived = f"{values} {device.type} {distributed.world_size()}"
    inputs = [paths.mined(name), paths.PASSAGES, *DEV, base]
    description = describe(params, "train", name, ("train", "dev_pool.top_documents"), derived, inputs)
    training_set, dev = read_data(params, name, filled(settings), rows, base)
    store, metric = open_store(paths.embeddings(BASE)), params.train.metric_for_best_model
    job = Job(
        name=name,
        section="train",
        base=base,
        options=params.train,
        settings=settings,
        objective=objective_of(params, values, rows),
        training_set=training_set,
        rows="questions" if params.train.objective == CONTRASTIVE else "pairs",
        sequences=values["train_group_size"] + 1,
        dev=dev,
        rival=(f"dev_pool_{metric}_of_base", "the base model", lambda asked: asked.base_means(store, [CUTOFF])),
        doubts=doubts,
    )
    train(job, description, device)


def used_settings(params: Params, rows: list[MinedRow], base: Path) -> tuple[dict[str, Setting], list[str]]:
    """The values that the training uses, with a temperature fitted to the base model; warnings about written ones."""
    normalize = read_settings(base).normalize
    settings = train_settings(params, len(rows), normalize)
    if not normalize or recipe_name(params) != PRETRAINED or params.train.objective != CONTRASTIVE:
        return settings, []
    store, passages = open_store(paths.embeddings(BASE)), open_passages(paths.PASSAGES)
    fitted = temperature_of(rows, store.queries("train"), store.passages, passages.document, params.train.seed)
    doubts = [in_words(doubt, "train") for doubt in far_from_fitted(settings["temperature"].value, fitted)]
    return with_temperature(settings, fitted), doubts


def objective_of(params: Params, values: dict[str, Any], rows: list[MinedRow]) -> Objective:
    """The objective that train.objective names; a scale that it learns is fitted to the base model's cosines."""
    if params.train.objective == CONTRASTIVE:
        return from_section(Contrastive, params.train, **values)
    scale, bias = 1.0, 0.0
    if params.train.learn_scale or params.train.objective == "bixse":
        scale, bias = start_of(rows, params.train.objective, values["temperature"])
        cli.say_once(f"train: begins with {scale:.3g} * cosine {bias:+.3g}, fitted to the cosines of the pairs")
    return from_section(ScoredPairs, params.train, **values, scale=scale, bias=bias)


def distils(teacher: str, rows: list[MinedRow]) -> bool:
    """Whether a teacher's scores are learned. A reranker that does not teach has given the rows none."""
    if teacher in (NONE, DATASET):
        return teacher == DATASET
    taught = all(row.has_teacher_scores for row in rows)
    if not taught:
        cli.say_once(f"train: the rows have no scores of {teacher}, which does not teach; no teacher's are learned")
    return taught


def read_data(
    params: Params, name: str, values: FilledTrain, rows: list[MinedRow], base: Path
) -> tuple[TrainingSet, DevSet | None]:
    """The training questions with their passages, and the dev set unless nothing evaluates it."""
    tokenizer, passages, settings = load_tokenizer(base), open_passages(paths.PASSAGES), read_settings(base)
    training_set = read_training_set(
        rows,
        tokenizer,
        passages,
        settings,
        group_size=values.train_group_size,
        query_max_len=values.query_max_len,
        passage_max_len=values.passage_max_len,
        distillation=distils(params.rounds[name].teacher, rows),
        seed=params.train.seed,
    )
    if training_set.distillation:
        scores = [[score for score in (*r.positive_scores, *r.negative_scores) if score is not None] for r in rows]
        refuse_flat_targets(scores, params.train.teacher_temperature)
    if passages.max_tokens > values.passage_max_len:
        cli.say_once(f"train: passages of up to {passages.max_tokens} tokens are cut to {values.passage_max_len}")
    if params.train.eval_strategy == "no":
        return training_set, None
    dev_files = (paths.QUERIES, paths.QRELS, paths.DEV_POOL)
    store, top = open_store(paths.embeddings(BASE)), params.dev_pool.top_documents
    return training_set, read_dev_set(*dev_files, store, top, passages, tokenizer, settings, values.query_max_len)


if __name__ == "__main__":
    run(main, "train", "mine", "segment", "model", "dataset", "compute")
