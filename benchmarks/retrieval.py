"""What the choices before training and the systems beside it are worth: positives, limits, rounds, BM25, hybrids.

    python -m benchmarks.retrieval             on the sample, writes results/retrieval.json
    python -m benchmarks.retrieval laws        adds STARD's law questions to it
    python -m benchmarks.retrieval laws first  these ways alone, beside what the file has

Each way is one change to the committed parameters. `right` is the share of positives that hold at least half of the
answer, where the data set says where answers stand (the sample does).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.pipeline import SHOWN, measure_ways, repro_with

WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "bm25": {},
    "first": {"mine": {"positive_passage": "first"}},
    "best": {"mine": {"positive_passage": "best"}},
    "fused": {"mine": {"positive_passage": "fused"}},
    "two passages": {"mine": {"positives_per_document": 2, "positive_closeness": 0.2}},
    "score limit": {"mine": {"max_score_ratio": 0.95}},
    "near-duplicates refused": {"mine": {"near_duplicate_share": 0.8}},
    "second round": {
        "rounds": {"round2": {"from": "finetuned", "teacher": "none"}},
        "fusions": {f"hybrid_{by}": {"dense": "round2", "by": by} for by in ("ranks", "scores")},
        "systems": ["base", "round2", "bm25", "hybrid_ranks", "hybrid_scores"],
        "release": {"system": "round2"},
    },
}
SYSTEMS = ("base", "bm25")
FUSIONS = ("hybrid_ranks", "hybrid_scores")


def run(project: Path, changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`dvc repro` with these changes: measures of every system, and what was mined."""
    repro_with(project, changes)
    model = changes.get("release", {}).get("system", "finetuned")
    mining = json.loads((project / "metrics" / "mining" / f"{model}.json").read_text())
    systems = {"tuned": model, **{name: name for name in (*SYSTEMS, *FUSIONS)}}
    read = {name: json.loads((project / "metrics" / f"{file}.json").read_text()) for name, file in systems.items()}
    return {
        "right": mining.get("positive_right_share"),
        "negatives_above_positive_share": mining["negatives_above_positive_share"],
        "dense_weight": read["hybrid_scores"]["dense_weight"],
        **{name: {measure: values[measure] for measure in SHOWN} for name, values in read.items()},
    }


if __name__ == "__main__":
    measure_ways("retrieval", WAYS, run, sys.argv[1:])
