"""What a training cost, kept beside its log in logs/training/, where git and DVC leave it alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from embedtune import files

COSTS = Path("logs/training")


def write_cost(path: Path, costs: dict[str, Any], summary_file: Path) -> None:
    """Write `costs` to `path`, and which training they are of: that of the summary in `summary_file`."""
    files.write_json(path, {**costs, "summary": _digest(summary_file)})


def cost_of(summary_file: Path, path: Path) -> dict[str, Any] | None:
    """What the training summed up in `summary_file` cost; None where this machine has not done it last."""
    if not path.exists():
        return None
    costs: dict[str, Any] = files.read_json(path)
    return costs if costs.get("summary") == _digest(summary_file) else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
