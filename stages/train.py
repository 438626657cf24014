"""train: fine-tune a model on mined rows, with torchrun on several GPUs (`python -m stages.train finetuned`)."""

import functools
import shutil
from pathlib import Path
from typing import Any

from embedtune.compute import distributed
from embedtune.compute.chosen_once import chosen_once
from embedtune.compute.costs import write_cost
from embedtune.compute.device import pick_device, training_precision
from embedtune.compute.memory import keep_freed_memory
from embedtune.config import paths
from embedtune.config.reading import value_text
from embedtune.config.recipe import (
    PRETRAINED,
    FilledTrain,
    Setting,
    filled,
    recipe_name,
    told,
    train_settings,
    with_temperature,
)
from embedtune.config.schema import BASE, CONTRASTIVE, Params
from embedtune.core import cli, files
from embedtune.core.errors import EmbedTuneError
from embedtune.core.run_folder import describe_run, run_name, write_description
from embedtune.data.passages import open_passages
from embedtune.evaluation.dev_evaluation import DevSet, read_dev_set
from embedtune.mining.mined_rows import MinedRow, read_mined
from embedtune.models.settings import read_settings
from embedtune.models.tokenization import load_tokenizer
from embedtune.models.vector_store import STORE, open_store
from embedtune.models.weight_change import relative_change
from embedtune.training import checkpoints
from embedtune.training.evaluation_budget import Budget, evaluation_budget
from embedtune.training.fine_tune import CUTOFF, fine_tune, schedule_of, write_tuned
from embedtune.training.objectives.contrastive import Contrastive
from embedtune.training.objectives.objective import Objective
from embedtune.training.objectives.scored_pairs import ScoredPairs, start_of
from embedtune.training.options import Adapter, Batching, Evaluating, Optimizer, Saving, from_section
from embedtune.training.outcome import warnings
from embedtune.training.records import cost, summary, write_records
from embedtune.training.temperature import far_from_fitted, temperature_of
from embedtune.training.training_data import TrainingSet, read_training_set
from stages.running import code_of, in_words, name_given, run, stage_params

DEV = [paths.QUERIES / "dev.jsonl", paths.QRELS / "dev.tsv", paths.DEV_POOL, paths.embeddings(BASE) / STORE]


def main() -> None:
    """Write models/<round>, metrics/training/<round>.json and the loss curve."""
    params = stage_params()
    name = name_given(params.rounds)
    base = paths.model(params.rounds[name].start)
    processes = distributed.processes_per_node(params.train.nproc_per_node)
    if not distributed.is_launched() and (processes > 1 or distributed.several_nodes()):
        distributed.launch("stages.train", [name], processes, across_machines=True)
        return
    with distributed.process_group():
        train(params, name, base)


def train(params: Params, name: str, base: Path) -> None:
    """Train together with the other processes, if any; the main process writes the outputs."""
    device = pick_device(params.compute.device)
    keep_freed_memory(device)
    rows = read_mined(paths.mined(name))
    settings, doubts = used_settings(params, rows, base)
    values = {key: setting.value for key, setting in settings.items()}
    machine = f"{device.type} {distributed.world_size()}"
    description = describe(params, name, base, f"{values} {machine}")
    scratch = paths.CHECKPOINTS / run_name(description)
    if distributed.is_main():
        write_description(scratch, description)
    precision = chosen_once(scratch, "precision", lambda: training_precision(params.train.precision, device))
    training_set, dev_set = read_data(params, filled(settings), rows, base)
    batching = from_section(Batching, params.train, **values)
    evaluating = from_section(Evaluating, params.train, **values)
    budget = budget_of(params, evaluating, batching, training_set, dev_set) if dev_set else None
    dev = dev_set.of_top(budget.top) if dev_set and budget else None
    tensorboard = paths.TENSORBOARD / scratch.name
    tune = functools.partial(
        fine_tune,
        base,
        training_set,
        objective_of(params, values, rows),
        run=scratch,
        tensorboard=tensorboard,
        adapter=from_section(Adapter, params.train, **values),
        batching=batching,
        optimizer=from_section(Optimizer, params.train, **values, precision=precision),
        evaluating=evaluating,
        saving=from_section(Saving, params.train),
        dev=dev,
        evaluate_only_after=budget.steps if budget else None,
        logging_steps=params.train.logging_steps,
        device=device,
    )
    cli.say_once(
        f"train: {len(training_set)} {rows_are(params)} on {distributed.world_size()} x {device.type} in {precision}; "
        f"TensorBoard: {tensorboard}"
    )
    for sentence in told(settings):
        cli.say_once(f"train: {sentence}")
    if not distributed.is_main():
        tune()
        return
    with files.atomic_directory(paths.model(name)) as target, checkpoints.locked(scratch):
        if not checkpoints.last(scratch):
            shutil.rmtree(tensorboard, ignore_errors=True)  # logs of an earlier run of the same training
        trained = tune()
        write_tuned(trained, base, target, params.train.method)
        change = relative_change(base, target)
    metric, figures = params.train.metric_for_best_model, {"weight_change": change}
    if dev:
        figures[f"dev_pool_{metric}_of_base"] = dev.base_means(open_store(paths.embeddings(BASE)), [CUTOFF])[metric]
    found = warnings(trained.record, change, metric, figures.get(f"dev_pool_{metric}_of_base"))
    doubts += (in_words(doubt, "train") for doubt in found)
    settings["precision"] = Setting(precision, "params.yaml" if params.train.precision != "auto" else "this machine")
    used = [{"key": key, **setting._asdict()} for key, setting in settings.items()]  # as a list no columns of DVC's
    said = {"warnings": doubts, "settings": used}
    told_of = summary(trained, len(training_set), metric, rows_are(params)) | figures | said
    places = {"curve": paths.training_plot(name), "steps": paths.training_steps(name)}
    write_records(trained, told_of, summary_file=paths.training_metrics(name), **places)
    costs = cost(trained, device, precision, sequences_per_question=values["train_group_size"] + 1)
    write_cost(paths.training_cost(name), costs, paths.training_metrics(name))
    cli.say(f"train: wrote {paths.model(name)} after {trained.record.step} steps in {trained.record.seconds:.0f} s")
    for doubt in doubts:
        cli.say(f"train: WARNING: {doubt}")
    checkpoints.finish(scratch, keep_models=params.train.save_strategy != "no")
    write_description(scratch, description, finished=True)


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


def rows_are(params: Params) -> str:
    """What a training row is."""
    return "questions" if params.train.objective == CONTRASTIVE else "pairs"


def objective_of(params: Params, values: dict[str, Any], rows: list[MinedRow]) -> Objective:
    """The objective that train.objective names; a scale that it learns is fitted to the base model's cosines."""
    if params.train.objective == CONTRASTIVE:
        return from_section(Contrastive, params.train, **values)
    scale, bias = 1.0, 0.0
    if params.train.learn_scale or params.train.objective == "bixse":
        scale, bias = start_of(rows, params.train.objective, values["temperature"])
        cli.say_once(f"train: begins with {scale:.3g} * cosine {bias:+.3g}, fitted to the cosines of the pairs")
    return from_section(ScoredPairs, params.train, **values, scale=scale, bias=bias)


def budget_of(
    params: Params, evaluating: Evaluating, batching: Batching, training_set: TrainingSet, dev: DevSet
) -> Budget:
    """How often dev is evaluated, and among how many documents, within `max_evaluation_share`; it is said."""
    schedule = schedule_of(len(training_set), batching)
    strategy, every = evaluating.eval_strategy, evaluating.eval_steps
    due = [step for step in range(1, schedule.steps + 1) if schedule.is_due(step, strategy, every)]
    questions = schedule.epochs * (len(training_set) - schedule.plan.left_out)
    tokens = int(questions * training_set.mean_tokens())
    most = params.train.max_evaluation_share
    budget = evaluation_budget(due, dev.top, lambda top: dev.of_top(top).tokens(), tokens, most)
    fewer = [f"{len(budget.steps)} time(s) instead of {len(due)}"] if len(budget.steps) < len(due) else []
    if budget.top < dev.top:
        fewer.append(f"among the best {budget.top} documents of each result instead of {dev.top}")
    if fewer:
        cli.say_once(
            f"train: dev is evaluated {', '.join(fewer)}, which costs {budget.share:.0%} of the training "
            f"(train.max_evaluation_share is {most:.0%})"
        )
    return budget


def read_data(
    params: Params, values: FilledTrain, rows: list[MinedRow], base: Path
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
        distillation=params.train.distillation,
        seed=params.train.seed,
    )
    if passages.max_tokens > values.passage_max_len:
        cli.say_once(f"train: passages of up to {passages.max_tokens} tokens are cut to {values.passage_max_len}")
    if params.train.eval_strategy == "no":
        return training_set, None
    dev_files = (paths.QUERIES, paths.QRELS, paths.DEV_POOL)
    store, top = open_store(paths.embeddings(BASE)), params.dev_pool.top_documents
    return training_set, read_dev_set(*dev_files, store, top, passages, tokenizer, settings, values.query_max_len)


def describe(params: Params, name: str, base: Path, derived: str) -> str:
    """All that the training depends on, a hash of which names the checkpoints' folder.

    `derived` is what follows from the machine, the data and the base model. Raises EmbedTuneError if the description is
    not the same on every machine.
    """
    inputs = [paths.mined(name), paths.PASSAGES, *DEV, base, *code_of("train")]
    keys = ("train", "dev_pool.top_documents")
    parameters = {key: value_text(params, key) for key in keys}
    agreed = distributed.agreed(lambda: describe_run(name, parameters, derived, inputs))
    if agreed is None:
        raise EmbedTuneError(
            "the machines differ in params.yaml, code, library versions, data/ or models/; give every machine a copy "
            f"of the project as it is after `dvc repro mine@{name} dev_pool`"
        )
    return agreed


if __name__ == "__main__":
    run(main, "train", "mine", "segment", "model", "dataset", "compute")
