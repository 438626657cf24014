"""Fine-tune a model: set up the training loop, resume from the last checkpoint, return the best model."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from FlagEmbedding.finetune.embedder.encoder_only.base import BiEncoderOnlyEmbedderModel
from torch.utils.data import DataLoader

from embedtune.compute import distributed
from embedtune.compute.device import DTYPES, pick_device
from embedtune.core import cli
from embedtune.core.errors import ParameterError
from embedtune.evaluation.dev_evaluation import EvaluationSet, indistinguishable_from_best
from embedtune.models.adapters import load_for_training, load_weights, trained_parameters
from embedtune.models.encode import pad_token_id
from embedtune.models.merge import merge
from embedtune.models.saving import ADAPTER, save_trained
from embedtune.models.settings import Settings
from embedtune.training import checkpoints
from embedtune.training.batches import Batch, BatchPlan, BatchSampler, collate
from embedtune.training.loop import Evaluation, Record, Saving, Schedule, train
from embedtune.training.optimisation import Optimisation
from embedtune.training.stopping import ignore_ctrl_c
from embedtune.training.training_data import TrainingSet

EVALUATION_BATCH_TOKENS = 16_384  # tokens in one forward pass on a GPU; a CPU is faster with fewer
CUTOFF = 10  # of the measures on dev queries


@dataclass(frozen=True)
class Trained:
    """The tuned model (a PeftModel for lora and qlora) on its device, with the record of its training.

    `trained_parameters` is the number of weights that were trained.
    """

    backbone: Any
    record: Record
    schedule: Schedule
    trained_parameters: int


def fine_tune(
    base: Path,
    settings: Settings,
    training_set: TrainingSet,
    dev: EvaluationSet | None,
    *,
    run: Path,
    tensorboard: Path,
    method: str,
    lora_r: int,
    lora_alpha: int,
    lora_dropout: float,
    lora_target_modules: list[str] | None,
    qlora_bits: int,
    num_train_epochs: int,
    per_device_train_batch_size: int,
    gradient_accumulation_steps: int,
    sub_batch_size: int | None,
    temperature: float,
    negatives: str,
    mask_false_negatives: bool,
    false_negative_margin: float | None,
    matryoshka_dims: list[int],
    learning_rate: float,
    lr_scheduler_type: str,
    warmup_ratio: float,
    weight_decay: float,
    max_grad_norm: float,
    precision: str,
    gradient_checkpointing: bool,
    dataloader_drop_last: bool,
    dataloader_num_workers: int,
    group_by_length: bool,
    logging_steps: int,
    eval_strategy: str,
    eval_steps: int,
    metric_for_best_model: str,
    early_stopping_patience: int | None,
    save_strategy: str,
    save_steps: int,
    save_total_limit: int | None,
    seed: int,
) -> Trained:
    """Fine-tune the model in `base`; the comments of params.yaml's section `train` explain the options.

    `precision` is fp32, fp16 or bf16 (mixed precision: trained weights stay fp32). Checkpoints are written to the
    directory `run`; training resumes from its newest complete one. Unless `eval_strategy` is no, `dev` is evaluated
    during training, and the main process returns the best checkpoint's weights. Every process of the group calls this
    function with the same arguments.

    Raises ParameterError if there are too few queries for one batch, if `matryoshka_dims` exceed the embedding size, or
    if the options of the adapter do not fit the model or the device. Raises EmbedTuneError if there are no dev queries
    to evaluate, if the loss or gradient is not finite, if not even one sequence fits in memory, and after a signal to
    stop.
    """
    plan = BatchPlan(len(training_set), per_device_train_batch_size, distributed.world_size(), dataloader_drop_last)
    if not plan.batches:
        raise ParameterError(
            "per_device_train_batch_size",
            f"{per_device_train_batch_size} on {plan.processes} process(es) is more than the {len(training_set)} "
            "training questions; lower it, or write `dataloader_drop_last: false`, with at least one question for each "
            "process",
        )
    schedule = Schedule(plan, num_train_epochs, gradient_accumulation_steps)
    device = pick_device()
    last = checkpoints.last(run) if distributed.is_main() else None
    torch.manual_seed(seed)  # for the initial weights of an adapter
    backbone = load_for_training(
        base,
        method,
        lora_r=lora_r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        lora_target_modules=lora_target_modules,
        qlora_bits=qlora_bits,
        compute_dtype=DTYPES[precision],
        device=device,
        checkpoint=last,
    )
    too_wide = [size for size in matryoshka_dims if size > backbone.config.hidden_size]
    if too_wide:
        raise ParameterError(
            "matryoshka_dims",
            f"the model's vectors have {backbone.config.hidden_size} numbers, fewer than {too_wide[0]}",
        )
    distributed.broadcast_weights(trained_parameters(backbone))
    if gradient_checkpointing:
        backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    embedder = BiEncoderOnlyEmbedderModel(
        backbone,
        temperature=temperature,
        sentence_pooling_method=settings.pooling,
        normalize_embeddings=settings.normalize,
    ).train()
    optimisation = Optimisation(
        embedder,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        lr_scheduler_type=lr_scheduler_type,
        warmup_ratio=warmup_ratio,
        steps=schedule.steps,
        precision=precision,
        negatives=negatives,
        mask_false_negatives=mask_false_negatives,
        false_negative_margin=false_negative_margin,
        matryoshka_dims=matryoshka_dims,
        sub_batch_size=sub_batch_size,
        seed=seed,
    )
    record = Record()
    state = distributed.broadcast_from_main(checkpoints.read_state(last) if last else None)
    if state:
        optimisation.load_state(state)
        record = Record(**state["record"])
        cli.say_once(f"train: going on from step {record.step} of {schedule.steps}, saved in {run}")
    pad_id = pad_token_id(base)
    evaluation = None
    if dev and eval_strategy != "no":

        def score() -> pd.DataFrame:
            with optimisation.autocast():
                return dev.score(
                    backbone,
                    settings,
                    pad_id=pad_id,
                    batch_tokens=EVALUATION_BATCH_TOKENS if device.type == "cuda" else 2048,
                    cutoffs=[CUTOFF],
                )

        evaluation = Evaluation(score, metric_for_best_model, eval_strategy, eval_steps, early_stopping_patience)
    sampler = BatchSampler(
        plan,
        epochs=num_train_epochs,
        seed=seed,
        rank=distributed.rank(),
        first=schedule.batches_before(record.step),
        lengths=training_set.lengths() if group_by_length else None,
    )
    train(
        optimisation,
        _loader(training_set, sampler, pad_id, device, dataloader_num_workers),
        schedule,
        record,
        saving=Saving(
            run, lambda target: save_trained(backbone, base, target), save_strategy, save_steps, save_total_limit
        ),
        evaluation=evaluation,
        logging_steps=logging_steps,
        tensorboard=tensorboard,
    )
    if evaluation:
        close = indistinguishable_from_best(record.evaluations, record.scores, metric_for_best_model)
        if close:
            cli.say_once(
                f"train: {len(record.scores[0])} dev questions are too few to tell step {record.best_step}, the best "
                f"by {metric_for_best_model}, from {', '.join(map(str, close))}: within two standard errors"
            )
    if record.best_step is not None and record.best_step != record.step and distributed.is_main():
        load_weights(backbone, checkpoints.folder(run, record.best_step))
    return Trained(backbone, record, schedule, sum(p.numel() for p in optimisation.parameters))


def write_tuned(trained: Trained, base: Path, target: Path, method: str) -> None:
    """Write the tuned model to the directory `target`.

    An adapter (`method` lora or qlora) is written to `target`/adapter and merged into the model in `base`. Raises
    EmbedTuneError if the merged model's embeddings differ from those of base and adapter together.
    """
    if method == "full":
        save_trained(trained.backbone, base, target)
    else:
        save_trained(trained.backbone, base, target / ADAPTER)
        merge(base, target / ADAPTER, target)


def _loader(
    training_set: TrainingSet, sampler: BatchSampler, pad_id: int, device: torch.device, workers: int
) -> Iterator[Batch]:
    return iter(
        DataLoader(
            training_set,
            batch_sampler=sampler,
            collate_fn=functools.partial(collate, pad_id=pad_id, multiple_of=8 if device.type == "cuda" else 1),
            num_workers=workers,
            pin_memory=device.type == "cuda",
            worker_init_fn=ignore_ctrl_c,
        )
    )
