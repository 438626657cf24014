"""What is kept of a training: the loss curve, a summary of it, and what it cost."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from embedtune import hardware
from embedtune.fine_tune import Trained

CURVE = ["step", "epoch", "loss", "accuracy", "learning_rate"]


def loss_curve(log: list[dict[str, float]]) -> pd.DataFrame:
    """The log lines as columns step, epoch, loss, accuracy, learning_rate."""
    return pd.DataFrame(log)[CURVE].round(8)


def summary(trained: Trained, questions: int) -> dict[str, Any]:
    """What metrics/training/<round>.json says; the same on every run of the same parameters and data."""
    record, schedule = trained.record, trained.schedule
    plan = schedule.plan
    curve = pd.DataFrame(record.log)
    return {
        "questions": questions,
        "questions_left_out_of_an_epoch": plan.left_out,
        "batch_size": plan.batch_size * plan.processes * min(schedule.accumulation, plan.batches),
        "steps": record.step,
        "first_loss": curve["loss"].iloc[0],
        "last_loss": curve["loss"].iloc[-1],
        "last_accuracy": curve["accuracy"].iloc[-1],
        "loss_of_epoch": {str(epoch): loss / steps for epoch, (loss, steps) in enumerate(record.epoch_losses, start=1)},
        **({"best_step": record.best_step} if record.best_step is not None else {}),
        "parameters": sum(hardware.weights_in(parameter) for parameter in trained.backbone.parameters()),
        "trained_parameters": trained.trained_parameters,
    }


def cost(trained: Trained, device: torch.device, precision: str, sequences_per_question: int) -> dict[str, Any]:
    """What logs/training/<round>.json says: time, memory, hardware and the share of its matrix rate that was used.

    Seconds are those of steps, evaluations and checkpoints apart; of a continued training, of all its parts.
    """
    record, processes = trained.record, trained.schedule.plan.processes
    length = record.tokens / (record.questions * sequences_per_question)
    flops = hardware.training_flops(trained.backbone, trained.backbone.config, record.tokens, length)
    rate = hardware.matrix_rate(device, precision)
    return {
        "seconds": record.seconds,
        "questions_per_second": processes * record.questions / record.seconds,
        "tokens_per_second_of_a_process": record.tokens / record.seconds,
        **hardware.peak_bytes(device),
        "flops_per_second_of_a_process": flops / record.seconds,
        "matrix_flops_per_second": rate,
        "share_of_matrix_rate": flops / record.seconds / rate,
        "processes": processes,
        "hardware": hardware.name(device),
        "precision": precision,
    }
