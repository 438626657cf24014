"""The records of a training run: its loss curve, a summary, and its cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from embedtune.compute import hardware
from embedtune.core import files, json_files
from embedtune.core.run_folder import library_versions
from embedtune.training.fine_tune import Trained
from embedtune.training.flops import training_flops, weights_in

CURVE = ["step", "epoch", "loss", "accuracy", "learning_rate"]


def loss_curve(log: list[dict[str, float]]) -> pd.DataFrame:
    """The log lines as columns step, epoch, loss, accuracy, learning_rate."""
    return pd.DataFrame(log)[CURVE].map(lambda value: json_files.rounded(value, decimals=8))


def summary(trained: Trained, count: int, metric: str, rows: str = "questions") -> dict[str, Any]:
    """The deterministic figures of a training run on `count` `rows`: they depend on parameters, data and libraries.

    That of dev is the best checkpoint's mean of `metric` in the pool of documents. A learned scale is the last step's.
    """
    record, schedule = trained.record, trained.schedule
    plan = schedule.plan
    curve = pd.DataFrame(record.log)
    return {
        rows: count,
        f"{rows}_left_out_of_an_epoch": plan.left_out,
        "batch_size": plan.batch_size * plan.processes * min(schedule.accumulation, plan.batches),
        "steps": record.step,
        "first_loss": curve["loss"].iloc[0],
        "last_loss": curve["loss"].iloc[-1],
        "last_accuracy": curve["accuracy"].iloc[-1],
        "loss_of_epoch": {str(epoch): loss / steps for epoch, (loss, steps) in enumerate(record.epoch_losses, start=1)},
        **({"best_step": record.best_step} if record.best_step is not None else {}),
        **({f"dev_pool_{metric}": max(line[metric] for line in record.evaluations)} if record.evaluations else {}),
        "parameters": sum(weights_in(parameter) for parameter in trained.backbone.parameters()),
        "trained_parameters": trained.trained_parameters,
        **trained.own_parameters,
        "versions": library_versions(),
    }


def write_records(trained: Trained, figures: dict[str, Any], *, summary_file: Path, curve: Path, steps: Path) -> None:
    """Write the figures of `summary` (JSON), the loss curve (CSV), every log line and dev evaluation (JSON Lines)."""
    json_files.write_json(summary_file, figures)
    with files.atomic_file(curve) as partial:
        loss_curve(trained.record.log).to_csv(partial, index=False)
    json_files.write_json_lines(steps, [*trained.record.log, *trained.record.evaluations])


def cost(trained: Trained, device: torch.device, precision: str, sequences_per_question: int) -> dict[str, Any]:
    """The cost of a training run: time, memory, hardware, and model FLOPs utilisation (`share_of_matrix_rate`).

    Seconds cover the steps, without evaluations and checkpoints; a resumed run includes its earlier parts. Utilisation
    is relative to the rate of matrix multiplication that is measured on this device. `sequences_per_question` counts
    the query and its passages.
    """
    record, processes = trained.record, trained.schedule.plan.processes
    length = record.tokens / (record.questions * sequences_per_question)
    flops = training_flops(trained.backbone, trained.backbone.config, record.tokens, length)
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
