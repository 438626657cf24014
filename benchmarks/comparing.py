"""The stage `compare` on 10,000 questions, five systems, nine measures and 10,000 resamples: seconds.

python -m benchmarks.comparing             three runs in fresh processes, writes results/comparing.json
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.harness import interleaved, timed, write_result
from benchmarks.pipeline import clone

QUESTIONS, RESAMPLES, ROUNDS = 10_000, 10_000, 3
SYSTEMS = ("base", "finetuned", "bm25", "hybrid_ranks", "hybrid_scores")
MEASURES = [f"{name}@{k}" for k in (1, 10, 100) for name in ("recall", "ndcg", "mrr")]


def prepare(project: Path) -> None:
    from embedtune.core import json_files

    clone(project, {"compare": {"resamples": RESAMPLES, "measures": None}})
    rng = np.random.default_rng(0)
    runs = project / "data" / "runs"
    runs.mkdir(parents=True)
    index = pd.Index([f"q{i}" for i in range(QUESTIONS)], name="query_id")
    for name in SYSTEMS:
        values = rng.random((QUESTIONS, len(MEASURES))).round(3)
        (runs / name).mkdir()
        pd.DataFrame(values, index=index, columns=MEASURES).to_csv(runs / name / "per_query.csv")
        (runs / name / "run.trec").write_text("".join(f"q{i} Q0 d{i} 1 1.0 x\n" for i in range(QUESTIONS)))
    groups = {"query_length": "0-10", "document_length": "0-1000", "answer_position": "0-500"}
    pd.DataFrame(groups, index=index).to_csv(project / "data" / "slices.csv")
    json_files.write_json_lines(project / "data" / "mined" / "finetuned.jsonl", [{"query_id": "q", "neg_passages": []}])


def main() -> None:
    if len(sys.argv) > 1:
        os.chdir(sys.argv[2])
        sys.path.insert(0, sys.argv[2])
        timed(lambda: subprocess.run([sys.executable, "-m", "stages.compare"], check=True, capture_output=True))
        return
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "project"
        prepare(project)
        seconds = interleaved("benchmarks.comparing", ["compare"], [str(project)], ROUNDS)["compare"]["seconds"]
    write_result(
        "comparing",
        {
            "questions": QUESTIONS,
            "systems": len(SYSTEMS),
            "measures": len(MEASURES),
            "resamples": RESAMPLES,
            "median_seconds": round(seconds, 2),
        },
    )


if __name__ == "__main__":
    main()
