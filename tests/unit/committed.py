"""Which run is committed: the shipped one, or a user's own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
OWN_WORK = subprocess.run(
    ["git", "status", "--porcelain", "--", "embedtune", "stages", "params.yaml", "dvc.lock", "metrics"],
    cwd=ROOT, capture_output=True, text=True,
).stdout  # fmt: skip
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
OTHER_DATA = STAGES["download"]["params"]["params.yaml"]["dataset.source"] != "sample"
