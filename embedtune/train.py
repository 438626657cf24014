"""Fine-tune with FlagEmbedding's model and loss (InfoNCE) on Hugging Face's Trainer, fed with embedtune's batches."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import Any

import torch
from FlagEmbedding.finetune.embedder.encoder_only.base import BiEncoderOnlyEmbedderModel, EncoderOnlyEmbedderTrainer
from torch.utils.data import Sampler
from transformers import AutoModel, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from embedtune.callbacks import EpochCheckpoints, ProgressBar, SaveModel, StopOnBadLoss
from embedtune.device import pick_device
from embedtune.encode import pad_token_id
from embedtune.errors import EmbedTuneError
from embedtune.model import Settings
from embedtune.progress import quiet_transformers
from embedtune.training_data import EpochSampler, TrainingSet, collate


class ContrastiveModel(BiEncoderOnlyEmbedderModel):
    """FlagEmbedding's bi-encoder and loss, which also notes how often the positive scored highest.

    InfoNCE (van den Oord et al. 2018) over in-batch negatives: the cross entropy of a query's similarities with all
    B * G passages, divided by the temperature, against its own positive.
    """

    correct = torch.zeros(())
    scored = 0

    def compute_loss(self, scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross entropy of scores (B, B * G) against target (B,)."""
        with torch.no_grad():
            self.correct = self.correct.to(scores.device) + (scores.argmax(-1) == target).sum()
            self.scored += len(target)
        return super().compute_loss(scores, target)

    def take_accuracy(self) -> float:
        """The share of queries whose positive scored highest, since the last call."""
        accuracy = float(self.correct) / max(1, self.scored)
        self.correct, self.scored = torch.zeros(()), 0
        return accuracy


class ContrastiveTrainer(EncoderOnlyEmbedderTrainer):
    """FlagEmbedding's trainer with epochs drawn by EpochSampler and the accuracy in every log line."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return EpochSampler(len(self.train_dataset), self.args.data_seed)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the accuracy to a line that has the loss."""
        if "loss" in logs:
            logs["accuracy"] = self.model.take_accuracy()
        super().log(logs, start_time)


def train(
    base: Path,
    settings: Settings,
    training_set: TrainingSet,
    *,
    temperature: float,
    per_device_train_batch_size: int,
    gradient_accumulation_steps: int,
    num_train_epochs: int,
    learning_rate: float,
    lr_scheduler_type: str,
    warmup_ratio: float,
    weight_decay: float,
    max_grad_norm: float,
    precision: str,
    gradient_checkpointing: bool,
    dataloader_drop_last: bool,
    dataloader_num_workers: int,
    logging_steps: int,
    seed: int,
    tensorboard: Path,
    scratch: Path,
    save_epoch: SaveModel | None = None,
) -> tuple[torch.nn.Module, list[dict[str, float]]]:
    """Tune the model in `base` and return (backbone in fp32, log lines).

    A log line has step, epoch, loss and accuracy (means since the line before), learning_rate and grad_norm.
    `precision` is fp32, fp16 or bf16 (mixed: weights stay fp32). One process, one device. `save_epoch`, if given, gets
    the backbone after each epoch. Raises EmbedTuneError when there are too few questions for one batch, or the loss
    is not finite.
    """
    batch = per_device_train_batch_size
    batches = len(training_set) // batch if dataloader_drop_last else math.ceil(len(training_set) / batch)
    if batches == 0:
        raise EmbedTuneError(
            f"params.yaml: train.per_device_train_batch_size: {batch} is more than the {len(training_set)} training "
            "questions, and train.dataloader_drop_last drops the incomplete batch; lower the one or turn off the other"
        )
    quiet_transformers()
    steps = math.ceil(batches / gradient_accumulation_steps) * num_train_epochs
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(tensorboard)
    arguments = TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=gradient_accumulation_steps,
        num_train_epochs=num_train_epochs,
        learning_rate=learning_rate,
        lr_scheduler_type=lr_scheduler_type,
        warmup_steps=math.ceil(warmup_ratio * steps),
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        dataloader_drop_last=dataloader_drop_last,
        dataloader_num_workers=dataloader_num_workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        logging_steps=logging_steps,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="tensorboard",
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=seed,
        data_seed=seed,
        use_cpu=pick_device().type == "cpu",
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # several GPUs in one process would mean DataParallel, and in-batch negatives cut apart
    backbone = AutoModel.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    if gradient_checkpointing:
        backbone.activation_checkpointing_enable()
    model = ContrastiveModel(
        backbone,
        temperature=temperature,
        sentence_pooling_method=settings.pooling,
        normalize_embeddings=settings.normalize,
    )
    trainer = ContrastiveTrainer(
        model=model,
        args=arguments,
        train_dataset=training_set,
        data_collator=functools.partial(
            collate, pad_id=pad_token_id(base), multiple_of=8 if torch.cuda.is_available() else 1
        ),
        callbacks=[ProgressBar(), StopOnBadLoss(), *([EpochCheckpoints(save_epoch)] if save_epoch else [])],
    )
    trainer.remove_callback(PrinterCallback)
    try:
        trainer.train()
    except torch.OutOfMemoryError as error:
        raise EmbedTuneError(
            f"a batch of {batch} questions does not fit in GPU memory; write `train.gradient_checkpointing: true`, "
            "then a smaller train.per_device_train_batch_size or passage_max_len"
        ) from error
    return backbone, [line for line in trainer.state.log_history if "loss" in line]
