"""The provenance of a report's figures: commit, model sizes, and the cost of training."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def revision() -> str:
    """The commit that is checked out (`git describe`), with "-dirty" if tracked files differ; or "not in git"."""
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
    return done.stdout.strip() or "not in git"


def size_of(model: Path, parameters: int) -> str:
    """The size of a model: its number of parameters, and its weights on disk in MB (10**6 bytes)."""
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    return f"{parameters:,} parameters, {weights / 1e6:,.1f} MB"


def training(took: Mapping[str, Any] | None) -> str:
    """Minutes, peak memory and hardware of a training (see training/records.py); `took` is None if they are unknown."""
    if not took:
        return "not known: not this machine's last"
    peak = took["peak_gpu_bytes"] or took["peak_ram_bytes"]
    return (
        f"{took['seconds'] / 60:.1f} minutes, {peak / 1e9:.2f} GB at most, {took['processes']} x {took['hardware']}, "
        f"{took['precision']}"
    )
