"""The ways of training side by side: metrics, seconds, memory and trained parameters, in clones of HEAD.

    python -m benchmarks.methods               on the sample, writes results/methods.json
    python -m benchmarks.methods laws          adds STARD's law questions to it
    python -m benchmarks.methods laws LoRA     these ways alone, beside what the file has

Everything before training runs once for each data set; each method then trains, encodes and evaluates.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.pipeline import SHOWN, measure_ways, repro_with

METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "full, in chunks of 32 (GradCache)": {"tokens_in_memory": 2048},  # 32 sequences of 64 tokens
    "full, two processes": {"nproc_per_node": 2, "per_device_train_batch_size": 32},
    "LoRA": {"method": "lora", "learning_rate": 1e-2},
    "full, Matryoshka 32 and 128": {"matryoshka_dims": [32, 128]},
}


def run(project: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """`dvc repro` with these changes to the committed `train` section; what came out and what training cost."""
    repro_with(project, {"train": changes})
    read = {name: json.loads((project / name).read_text()) for name in ("metrics/finetuned.json", "metrics/base.json")}
    training = json.loads((project / "metrics" / "training" / "finetuned.json").read_text())
    cost = json.loads((project / "logs" / "training" / "finetuned.json").read_text())
    return {
        **{measure: {name[8:-5]: values[measure] for name, values in read.items()} for measure in SHOWN},
        "seconds": round(cost["seconds"], 1),
        "peak_bytes": cost["peak_gpu_bytes"] or cost["peak_ram_bytes"],
        "share_of_matrix_rate": cost["share_of_matrix_rate"],
        "trained_parameters": training["trained_parameters"],
        "parameters": training["parameters"],
    }


if __name__ == "__main__":
    measure_ways("methods", METHODS, run, sys.argv[1:])
