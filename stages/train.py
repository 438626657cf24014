"""train: fine-tune a model on a round's mined rows, on torchrun where GPUs are several (`… stages.train finetuned`)."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedtune import checkpoints, cli, distributed, files
from embedtune.config import Params, load_params
from embedtune.corpus import read_queries
from embedtune.costs import COSTS, write_cost
from embedtune.dev_evaluation import DevSet, prepare
from embedtune.device import pick_device, training_precision
from embedtune.errors import EmbedTuneError
from embedtune.fine_tune import Trained, fine_tune
from embedtune.memory import keep_freed_memory
from embedtune.merge import merge
from embedtune.model import ADAPTER, Settings, check_length, read_settings, save_trained
from embedtune.passages import open_passages
from embedtune.tokenization import frame, load_tokenizer, tokenize_queries
from embedtune.training_data import TrainingSet, read_mined
from embedtune.training_records import cost, loss_curve, summary

PASSAGES, POOL = Path("data/passages"), Path("data/dev_pool.npy")
DEV = [Path("data/queries/dev.jsonl"), Path("data/qrels/dev.tsv"), POOL]
CODE = [Path("embedtune"), Path("stages/train.py")]
ELSEWHERE = {"train_group_size", "query_max_len", "passage_max_len", "nproc_per_node", "precision", "distillation"}


@dataclass(frozen=True)
class Round:
    """One round's name, and the model that it starts from."""

    name: str
    base: Path

    @property
    def mined(self) -> Path:
        """What it is trained on."""
        return Path("data/mined") / f"{self.name}.jsonl"


def main() -> None:
    """Write models/<round>, metrics/training/<round>.json and its curve."""
    params = load_params()
    this = Round(sys.argv[1], Path("models") / params.rounds[sys.argv[1]])
    settings = read_settings(this.base)
    check_length("train.query_max_len", params.train.query_max_len, settings)
    check_length("train.passage_max_len", params.train.passage_max_len, settings)
    processes = distributed.processes_per_node(params.train.nproc_per_node)
    if not distributed.is_launched() and (processes > 1 or distributed.several_nodes()):
        distributed.launch("stages.train", [this.name], processes, across_machines=True)
        return
    with distributed.process_group():
        train(params, this, settings)


def train(params: Params, this: Round, settings: Settings) -> None:
    """Train in this process and those beside it; the main one writes."""
    device = pick_device()
    keep_freed_memory(device)
    precision = training_precision(params.train.precision, device)
    run = run_folder(this, f"{params.train.model_dump_json()} {device.type} {precision} {distributed.world_size()}")
    training_set, dev = read_data(params, this, settings)
    options = params.train.model_dump(exclude=ELSEWHERE) | {"precision": precision}
    tensorboard = Path("logs/tensorboard") / run.name
    cli.say_once(
        f"train: {len(training_set)} questions on {distributed.world_size()} x {device.type} in {precision}; "
        f"TensorBoard: {tensorboard}"
    )
    finetuned = Path("models") / this.name
    if not distributed.is_main():
        fine_tune(this.base, settings, training_set, dev, run=run, tensorboard=tensorboard, **options)
        return
    with files.whole_directory(finetuned) as target, checkpoints.locked(run):
        if not checkpoints.last(run):
            shutil.rmtree(tensorboard, ignore_errors=True)  # of an earlier run of the very same training
        trained = fine_tune(this.base, settings, training_set, dev, run=run, tensorboard=tensorboard, **options)
        if params.train.method == "full":
            save_trained(trained.backbone, this.base, target)
        else:
            save_trained(trained.backbone, this.base, target / ADAPTER)
            merge(this.base, target / ADAPTER, target)
    sequences = params.train.train_group_size + 1
    write_records(this.name, trained, summary(trained, len(training_set)), cost(trained, device, precision, sequences))
    cli.say(f"train: wrote {finetuned} after {trained.record.step} steps in {trained.record.seconds:.0f} s")
    checkpoints.finish(run, keep_models=params.train.save_strategy != "no")


def run_folder(this: Round, setting: str) -> Path:
    """The checkpoints' folder, named by all that the training depends on, which must be the same on every machine."""
    first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    name = checkpoints.run_name(setting, [this.mined, PASSAGES, *DEV, this.base, *CODE]) if first_here else None
    names = {found for found in distributed.gather_objects(name) if found}
    if len(names) > 1:
        raise EmbedTuneError(
            "the machines differ in params.yaml, code, data/ or models/; give every machine a copy of the project "
            f"as it is after `dvc repro mine@{this.name} dev_pool`"
        )
    return Path("checkpoints") / names.pop()


def read_data(params: Params, this: Round, settings: Settings) -> tuple[TrainingSet, DevSet | None]:
    """Training questions with their passages, and dev questions with their pool unless nothing evaluates them."""
    tokenizer, passages = load_tokenizer(this.base), open_passages(PASSAGES)
    around = frame(tokenizer, settings.passage_instruction)
    rows = read_mined(this.mined)
    max_len = params.train.query_max_len
    training_set = TrainingSet(
        rows,
        tokenize_queries(tokenizer, [row.query for row in rows], settings.query_instruction, max_len),
        passages,
        around,
        group_size=params.train.train_group_size,
        passage_max_len=params.train.passage_max_len,
        distillation=params.train.distillation,
        seed=params.train.seed,
    )
    if passages.max_tokens > params.train.passage_max_len:
        cli.say_once(f"train: passages of up to {passages.max_tokens} tokens are cut to {params.train.passage_max_len}")
    if params.train.eval_strategy == "no":
        return training_set, None
    questions = read_queries(Path("data/queries"), Path("data/qrels"), "dev")
    if not questions:
        raise EmbedTuneError(
            f"params.yaml: train.eval_strategy: {params.train.eval_strategy} needs dev questions, and there are none; "
            "raise dataset.dev_queries and dataset.split_shares.dev, or write `no`"
        )
    return training_set, prepare(questions, passages, np.load(POOL), tokenizer, settings, max_len)


def write_records(name: str, trained: Trained, result: dict[str, Any], costs: dict[str, Any]) -> None:
    """The loss curve and the summary, versioned; what it cost and every log line, in logs/."""
    with files.whole_file(Path("metrics/plots/training") / f"{name}.csv") as partial:
        loss_curve(trained.record.log).to_csv(partial, index=False)
    files.write_json(Path("metrics/training") / f"{name}.json", result)
    write_cost(COSTS / f"{name}.json", costs, Path("metrics/training") / f"{name}.json")
    files.write_json_lines(COSTS / f"{name}_steps.jsonl", [*trained.record.log, *trained.record.evaluations])


if __name__ == "__main__":
    cli.run(main)
