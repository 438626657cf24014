"""The cost of a training run, stored with a hash of the run's summary file.

The hash ensures that the cost of a different run is never reported.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from embedtune.core import json_files


def write_cost(path: Path, costs: dict[str, Any], summary_file: Path) -> None:
    """Write `costs` to `path` as JSON, with the SHA-256 hash of the training run's `summary_file`."""
    json_files.write_json(path, {**costs, "summary": _digest(summary_file)})


def cost_of(summary_file: Path, path: Path) -> dict[str, Any] | None:
    """The costs in `path`, or None if the file is missing or belongs to a training run with another `summary_file`."""
    if not path.exists():
        return None
    costs: dict[str, Any] = json_files.read_json(path)
    return costs if costs.get("summary") == _digest(summary_file) else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
