"""Fine-tune a model: put together what the training loop needs, go on from the last checkpoint, return the best."""

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

from embedtune import checkpoints, cli, distributed
from embedtune.adapters import load_for_training, load_weights, trained_parameters
from embedtune.dev_evaluation import DevSet, hard_to_tell_apart
from embedtune.device import DTYPES, pick_device
from embedtune.encode import pad_token_id
from embedtune.errors import EmbedTuneError
from embedtune.model import Settings, save_trained
from embedtune.optimisation import Optimisation
from embedtune.stopping import ignore_ctrl_c
from embedtune.train import Evaluation, Record, Saving, Schedule, train
from embedtune.training_data import Batch, Batches, BatchPlan, TrainingSet, collate

EVALUATION_BATCH_TOKENS = 16_384  # in one forward pass on a GPU; a CPU is faster with fewer
CUTOFF = 10  # of the measures on dev questions


@dataclass(frozen=True)
class Trained:
    """The tuned model (a PeftModel for lora and qlora), on its device, and how it came about."""

    backbone: Any
    record: Record
    schedule: Schedule
    trained_parameters: int


def fine_tune(
    base: Path,
    settings: Settings,
    training_set: TrainingSet,
    dev: DevSet | None,
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
    """Tune the model in `base`; params.yaml's `train` section says what each option means.

    `precision` is fp32, fp16 or bf16 (mixed: trained weights stay fp32). Checkpoints are in `run`; if it holds a
    whole one, the training goes on from there. With an `eval_strategy`, `dev` is evaluated and the best checkpoint is
    what is returned. Every process of a group calls this with the same arguments. Raises EmbedTuneError when there are
    too few questions for one batch or none to evaluate, when the loss is not finite, and after a signal to stop.
    """
    plan = BatchPlan(len(training_set), per_device_train_batch_size, distributed.world_size(), dataloader_drop_last)
    if not plan.batches:
        raise EmbedTuneError(
            f"params.yaml: train.per_device_train_batch_size: {per_device_train_batch_size} on "
            f"{plan.processes} process(es) is more than the {len(training_set)} training questions; lower it, or write "
            "train.dataloader_drop_last: false, with at least one question for each process"
        )
    schedule = Schedule(plan, num_train_epochs, gradient_accumulation_steps)
    device = pick_device()
    last = checkpoints.last(run) if distributed.is_main() else None
    torch.manual_seed(seed)  # of an adapter's first weights
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
        raise EmbedTuneError(
            f"params.yaml: train.matryoshka_dims: the model's vectors have {backbone.config.hidden_size} numbers, "
            f"fewer than {too_wide[0]}"
        )
    distributed.share_weights(trained_parameters(backbone))
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
    state = distributed.from_main(checkpoints.read_state(last) if last else None)
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
    sampler = Batches(
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
        close = hard_to_tell_apart(record.evaluations, record.scores, metric_for_best_model)
        if close:
            cli.say_once(
                f"train: {len(record.scores[0])} dev questions are too few to tell step {record.best_step}, the best "
                f"by {metric_for_best_model}, from {', '.join(map(str, close))}: within two standard errors"
            )
    if record.best_step is not None and record.best_step != record.step and distributed.is_main():
        load_weights(backbone, checkpoints.folder(run, record.best_step))
    return Trained(backbone, record, schedule, sum(p.numel() for p in optimisation.parameters))


def _loader(
    training_set: TrainingSet, sampler: Batches, pad_id: int, device: torch.device, workers: int
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
