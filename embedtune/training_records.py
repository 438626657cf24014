"""What is kept of a training: the loss curve, a summary of it, what it cost, and a name that tells runs apart."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

import pandas as pd
import torch


def run_name(settings: str, *inputs: Path) -> str:
    """A short name that differs wherever the settings or the content of an input file do."""
    digest = hashlib.sha256(settings.encode())
    for path in inputs:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def loss_curve(log: list[dict[str, float]]) -> pd.DataFrame:
    """Trainer's log lines as columns step, epoch, loss, accuracy, learning_rate."""
    return pd.DataFrame(log)[["step", "epoch", "loss", "accuracy", "learning_rate"]].round(8)


def summary(curve: pd.DataFrame, questions: int, backbone: torch.nn.Module) -> dict[str, Any]:
    """What metrics/training.json says; the same on every run of the same parameters and data."""
    last = curve.iloc[-1]
    return {
        "questions": questions,
        "steps": int(last["step"]),
        "first_loss": float(curve["loss"].iloc[0]),
        "last_loss": float(last["loss"]),
        "last_accuracy": float(last["accuracy"]),
        "parameters": sum(p.numel() for p in backbone.parameters()),
    }


def cost(seconds: float, questions: int, device: torch.device, precision: str) -> dict[str, Any]:
    """What logs/training.json says: time, memory and hardware. `questions`: those trained on, repeats counted."""
    on_gpu = device.type == "cuda"
    return {
        "seconds": seconds,
        "questions_per_second": questions / seconds,
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if on_gpu else 0,
        "device": str(device),
        "hardware": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "precision": precision,
    }
