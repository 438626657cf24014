"""Every kind of index on a million vectors: its recall against exact search, its speed, its size, its building.

    python -m benchmarks.indexes               writes results/indexes.json (eight minutes, 6 GB of disk)

Vectors are generated: 256 dimensions, in clusters (a passage resembles others), each question close to one of them.
Both searches are the pipeline's own, `rank_documents`, exact scores and the rule for ties included; seconds are the
median of three searches by a thousand questions.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import write_result

COUNT, QUESTIONS, DIMENSION, CLUSTERS, DEPTH, ROUNDS = 1_000_000, 1_000, 256, 20_000, 10, 3
KINDS: dict[str, list[str]] = {
    "IVF1024,Flat": ["nprobe=1", "nprobe=16", "nprobe=64"],
    "IVF1024,SQ8": ["nprobe=16"],
    "IVF1024,PQ64": ["nprobe=16"],
    "PQ64": [""],
    "HNSW32": ["efSearch=16", "efSearch=128"],
}


def vectors(rng: np.random.Generator) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """(passages, questions), float16 of length 1."""
    centres = rng.standard_normal((CLUSTERS, DIMENSION), dtype=np.float32)
    passages = np.empty((COUNT, DIMENSION), dtype=np.float16)
    for start in range(0, COUNT, 65_536):
        rows = passages[start : start + 65_536]
        rows[:] = unit(centres[rng.integers(0, CLUSTERS, len(rows))] + noise(rng, len(rows)))
    chosen = passages[rng.choice(COUNT, QUESTIONS, replace=False)].astype(np.float32) * np.sqrt(DIMENSION)
    return passages, unit(chosen + noise(rng, QUESTIONS)).astype(np.float16)


def noise(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    return rng.standard_normal((count, DIMENSION), dtype=np.float32)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


def main() -> None:
    from embedtune.retrieval.dense import CandidateSearch, rank_documents
    from embedtune.retrieval.indexes import build_index, index_recall, open_index
    from embedtune.retrieval.rankings import Rankings

    passages, questions = vectors(np.random.default_rng(0))
    ids = [f"{number:07}" for number in range(COUNT)]
    document = np.arange(COUNT, dtype=np.int32)

    def searched(index: CandidateSearch | None) -> tuple[Rankings, float]:
        seconds = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            found = rank_documents(questions, passages, document, ids, DEPTH, index)
            seconds.append(time.perf_counter() - started)
        return found, statistics.median(seconds)

    exact, exact_seconds = searched(None)
    kinds: dict[str, dict[str, Any]] = {}
    for factory, searches in KINDS.items():
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch)
            started = time.perf_counter()
            build_index(passages, directory, factory=factory, shard_rows=COUNT, train_rows=250_000, seed=0)
            built = time.perf_counter() - started
            size = sum(path.stat().st_size for path in directory.iterdir())
            for search in searches:  # empty: FAISS's own
                found, seconds = searched(open_index(directory, search))
                kind = f"{factory}, {search}".removesuffix(", ")
                kinds[kind] = {
                    "recall": round(index_recall(found, exact, [DEPTH])[f"index_recall@{DEPTH}"], 4),
                    "times_as_fast": round(exact_seconds / seconds, 1),
                    "build_seconds": round(built, 1),
                    "bytes": size,
                }
                print(f"{kind}: {kinds[kind]}", file=sys.stderr, flush=True)
    write_result(
        "indexes",
        {
            "vectors": COUNT,
            "dimension": DIMENSION,
            "questions": QUESTIONS,
            "depth": DEPTH,
            "exact_seconds": round(exact_seconds, 2),
            "kinds": kinds,
        },
    )


if __name__ == "__main__":
    main()
