"""The provenance of a report's figures: commit, model sizes, and the cost of training."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TRUST = "git config --global --add safe.directory"  # git reads a folder of another owner only where it is listed


def revision() -> str:
    """The commit that is checked out (`git describe`), with "-dirty" if tracked files differ; or why none is known."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        return "not known: git is not installed"
    if done.returncode == 0:
        return done.stdout.strip()
    if "dubious ownership" in done.stderr:
        return f"not known: the folder belongs to another user; `{TRUST} {Path.cwd()}` lets git read it"
    return "not in git" if "not a git repository" in done.stderr else "no commit yet"


def now() -> str:
    """The time, in UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


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
