"""train: fine-tune a model on mined rows, with torchrun on several GPUs (`python -m stages.train finetuned`)."""

import functools
import shutil
from pathlib import Path

from embedtune.compute import distributed
from embedtune.compute.costs import write_cost
from embedtune.compute.device import pick_device, training_precision
from embedtune.compute.memory import keep_freed_memory
from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.config.schema import BASE, Params
from embedtune.core import cli, files
from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.core.run_folder import run_name
from embedtune.data.passages import open_passages
from embedtune.evaluation.dev_evaluation import EvaluationSet, read_dev_set
from embedtune.models.settings import Settings, check_length, read_settings
from embedtune.models.tokenization import load_tokenizer
from embedtune.models.vector_store import STORE, open_store
from embedtune.training import checkpoints
from embedtune.training.fine_tune import fine_tune, write_tuned
from embedtune.training.objectives.contrastive import Contrastive
from embedtune.training.options import Adapter, Batching, Evaluating, Optimizer, Saving, from_section
from embedtune.training.records import cost, write_records
from embedtune.training.training_data import TrainingSet, read_training_set
from stages.running import code_of, named, run

DEV = [paths.QUERIES / "dev.jsonl", paths.QRELS / "dev.tsv", paths.DEV_POOL, paths.embeddings(BASE) / STORE]


def main() -> None:
    """Write models/<round>, metrics/training/<round>.json and the loss curve."""
    params = load_params()
    name = named()
    base = paths.model(params.rounds[name].start)
    settings = read_settings(base)
    check_length("query_max_len", params.train.query_max_len, settings)
    check_length("passage_max_len", params.train.passage_max_len, settings)
    processes = distributed.processes_per_node(params.train.nproc_per_node)
    if not distributed.is_launched() and (processes > 1 or distributed.several_nodes()):
        distributed.launch("stages.train", [name], processes, across_machines=True)
        return
    with distributed.process_group():
        train(params, name, base, settings)


def train(params: Params, name: str, base: Path, settings: Settings) -> None:
    """Train together with the other processes, if any; the main process writes the outputs."""
    device = pick_device()
    keep_freed_memory(device)
    precision = training_precision(params.train.precision, device)
    known = f"{params.train.model_dump_json()} {params.dev_pool.top_documents}"
    known += f" {device.type} {precision} {distributed.world_size()}"
    scratch = scratch_folder(name, base, known)
    training_set, dev = read_data(params, name, base, settings)
    tensorboard = paths.TENSORBOARD / scratch.name
    tune = functools.partial(
        fine_tune,
        base,
        training_set,
        from_section(Contrastive, params.train),
        run=scratch,
        tensorboard=tensorboard,
        adapter=from_section(Adapter, params.train),
        batching=from_section(Batching, params.train),
        optimizer=from_section(Optimizer, params.train, precision=precision),
        evaluating=from_section(Evaluating, params.train),
        saving=from_section(Saving, params.train),
        dev=dev,
        logging_steps=params.train.logging_steps,
    )
    cli.say_once(
        f"train: {len(training_set)} questions on {distributed.world_size()} x {device.type} in {precision}; "
        f"TensorBoard: {tensorboard}"
    )
    if not distributed.is_main():
        tune()
        return
    with files.atomic_directory(paths.model(name)) as target, checkpoints.locked(scratch):
        if not checkpoints.last(scratch):
            shutil.rmtree(tensorboard, ignore_errors=True)  # logs of an earlier run of the same training
        trained = tune()
        write_tuned(trained, base, target, params.train.method)
    places = {"curve": paths.training_plot(name), "steps": paths.training_steps(name)}
    write_records(trained, len(training_set), summary_file=paths.training_metrics(name), **places)
    costs = cost(trained, device, precision, sequences_per_question=params.train.train_group_size + 1)
    write_cost(paths.training_cost(name), costs, paths.training_metrics(name))
    cli.say(f"train: wrote {paths.model(name)} after {trained.record.step} steps in {trained.record.seconds:.0f} s")
    checkpoints.finish(scratch, keep_models=params.train.save_strategy != "no")


def read_data(params: Params, name: str, base: Path, settings: Settings) -> tuple[TrainingSet, EvaluationSet | None]:
    """The training questions with their passages, and the dev set unless nothing evaluates it."""
    tokenizer, passages, query_max_len = load_tokenizer(base), open_passages(paths.PASSAGES), params.train.query_max_len
    training_set = read_training_set(
        paths.mined(name),
        tokenizer,
        passages,
        settings,
        group_size=params.train.train_group_size,
        query_max_len=query_max_len,
        passage_max_len=params.train.passage_max_len,
        distillation=params.train.distillation,
        seed=params.train.seed,
    )
    if passages.max_tokens > params.train.passage_max_len:
        cli.say_once(f"train: passages of up to {passages.max_tokens} tokens are cut to {params.train.passage_max_len}")
    if params.train.eval_strategy == "no":
        return training_set, None
    dev_files = (paths.QUERIES, paths.QRELS, paths.DEV_POOL)
    store, top = open_store(paths.embeddings(BASE)), params.dev_pool.top_documents
    dev = read_dev_set(*dev_files, store, top, passages, tokenizer, settings, query_max_len)
    if dev is None:
        raise ParameterError(
            "eval_strategy",
            f"{params.train.eval_strategy} needs dev questions, and there are none; raise `dev_queries` and "
            "`split_shares`.dev, or write `no`",
        )
    return training_set, dev


def scratch_folder(name: str, base: Path, settings: str) -> Path:
    """The checkpoints' folder, named by a hash of all that the training depends on.

    Raises EmbedTuneError if that is not the same on every machine.
    """
    inputs = [paths.mined(name), paths.PASSAGES, *DEV, base, *code_of("train")]
    agreed = distributed.agreed(lambda: run_name(settings, inputs))
    if agreed is None:
        raise EmbedTuneError(
            "the machines differ in params.yaml, code, library versions, data/ or models/; give every machine a copy "
            f"of the project as it is after `dvc repro mine@{name} dev_pool`"
        )
    return paths.CHECKPOINTS / agreed


if __name__ == "__main__":
    run(main, "train", "mine", "segment", "model", "dataset")
