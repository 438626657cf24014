"""A corpus of MLDR-zh's size through the stages that a CPU does: time and memory at 20,000 and at 200,000 documents.

    python -m benchmarks.scale                 writes results/scale.json (half an hour, 15 GB of disk)
    python -m benchmarks.scale lexical slices  measures these stages again and leaves the other figures

Documents of 6,000 generated characters, 1,000 training, 200 dev and 800 test questions; passages of 512 tokens; random
vectors of 768 dimensions in place of a model's. Each stage is the pipeline's own, in a process of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import read_result, write_result
from benchmarks.pipeline import clone

SIZES, CHARACTERS, DIMENSION = (20_000, 200_000), 6_000, 768
QUESTIONS = {"train": 1_000, "dev": 200, "test": 800}
STAGES = (
    ("convert",),
    ("segment",),
    ("mine", "finetuned"),
    ("index", "base"),
    ("slices",),
    ("lexical",),
    ("evaluate", "base"),
    ("fuse", "hybrid_scores"),
)
GIB = 2**30


def write_raw(target: Path, documents: int) -> None:
    """The data set in MLDR's layout: each document four of a thousand generated ones, cut to size."""
    from embedtune.core import json_files
    from embedtune.data.sample.corpus import write_sample

    sample = target.parents[1] / "sample"
    sample.mkdir(parents=True)
    write_sample(sample, 1000, {"train": 1}, seed=0)
    texts = [row["text"] for row in json_files.read_json_lines(sample / "mldr-v1.0-zh" / "corpus.jsonl.gz")]

    def text(i: int) -> str:
        return "\n".join(texts[(i * 7 + k * 331 + i // 1000) % 1000] for k in range(4))[:CHARACTERS]

    target.mkdir(parents=True)
    json_files.write_json_lines(
        target / "corpus.jsonl", ({"docid": f"d{i}", "text": text(i)} for i in range(documents))
    )
    for number, (split, count) in enumerate(QUESTIONS.items()):
        chosen = [(number * 7919 + i * 13) % documents for i in range(count)]
        rows = (
            {
                "query_id": f"{split}{i}",
                "query": text(d)[100 + i % 1000 :][:15],
                "positive_passages": [{"docid": f"d{d}", "text": None}],
            }
            for i, d in enumerate(chosen)
        )
        json_files.write_json_lines(target / f"{split}.jsonl", rows)


def write_vectors(project: Path) -> int:
    """Random vectors of length 1 for every passage and question; how many passages there are."""
    from embedtune.core import json_files
    from embedtune.models import vector_store

    rng = np.random.default_rng(0)
    directory = project / "data" / "embeddings" / "base"
    directory.mkdir(parents=True)
    passages = json_files.read_json(project / "data" / "passages" / "meta.json")["passages"]
    sizes = {vector_store.PASSAGES: passages} | {vector_store.query_part(s): count for s, count in QUESTIONS.items()}
    for name, count in sizes.items():
        out = vector_store.create_array(directory / f"{name}.npy", count, DIMENSION)
        for start in range(0, count, 65_536):
            block = rng.standard_normal((min(65_536, count - start), DIMENSION), dtype=np.float32)
            out[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
        del out  # written, so that its hash can be taken
    made_by = {"model": {"path": "models/base", "hash": ""}, "query_max_len": 64}
    vector_store.write_description(directory, DIMENSION, sizes, made_by)
    return int(passages)


def run_stage(project: Path, *arguments: str) -> dict[str, float]:
    """Seconds of a stage and the most memory that it held, mapped files apart from what it touched."""
    started = time.perf_counter()
    command = [sys.executable, "-m", f"stages.{arguments[0]}", *arguments[1:]]
    with (project / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=project, stdout=log, stderr=log)
        anonymous = 0
        while process.poll() is None:
            anonymous = max(anonymous, rss_anonymous(process.pid))
            time.sleep(0.02)
    if process.returncode:
        sys.exit((project / "log.txt").read_text()[-3000:])
    return {"seconds": round(time.perf_counter() - started, 1), "peak_bytes": anonymous}


def rss_anonymous(pid: int | str) -> int:
    """Bytes that the process holds besides file mappings, which the kernel may drop at any time (RssAnon, proc(5))."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def run(documents: int, scratch: Path, only: list[str]) -> dict[str, Any]:
    raw = scratch / "raw" / "mldr-v1.0-zh"
    write_raw(raw, documents)
    changes = {
        "dataset": {"source": "local", "path": str(scratch / "raw"), "dev_queries": 0},
        "segment": {"max_tokens": 512, "max_passages": None},
        "evaluate": {"cutoffs": [10, 100]},
    }
    project = clone(scratch / "project", changes)
    (project / "data" / "raw").parent.mkdir(exist_ok=True)
    (project / "data" / "raw").symlink_to(scratch / "raw")
    run_stage(project, "base_model")
    run_stage(project, "reranker")
    figures: dict[str, Any] = {}
    for arguments in STAGES:
        if only and arguments[0] not in ("convert", *only):
            continue
        if arguments[0] == "mine":
            figures["passages"] = write_vectors(project)
        if arguments[0] == "fuse":  # fuses the tuned model's
            (project / "data" / "runs" / "finetuned").symlink_to(project / "data" / "runs" / "base")
        figures[arguments[0]] = run_stage(project, *arguments)
        print(f"{documents}: {arguments[0]} {figures[arguments[0]]}", file=sys.stderr, flush=True)
    return figures


def matrix_flops_per_second() -> float:
    """Of these cores, in fp32: what hours of encoding and training are worked out from (docs/sizes.md)."""
    import torch

    from embedtune.compute.hardware import matrix_rate

    return round(matrix_rate(torch.device("cpu"), "fp32"))


def main() -> None:
    only = sys.argv[1:]  # these need nothing but what convert writes
    results: dict[str, dict[str, Any]] = read_result("scale")["documents"] if only else {}
    for documents in SIZES:
        scratch = Path(tempfile.mkdtemp())
        results[f"{documents:,}"] = results.get(f"{documents:,}", {}) | run(documents, scratch, only)
        shutil.rmtree(scratch)
    small, large = results.values()
    grown = SIZES[1] / SIZES[0]
    growth = {
        name[0]: round(large[name[0]]["seconds"] / small[name[0]]["seconds"] / grown, 2)
        for name in STAGES
        if small[name[0]]["seconds"] > 5
    }
    peak = max(large[name[0]]["peak_bytes"] for name in STAGES)
    write_result(
        "scale",
        {
            "characters_each": CHARACTERS,
            "dimension": DIMENSION,
            "questions": QUESTIONS,
            "matrix_flops_per_second": matrix_flops_per_second(),
            "documents": results,
            "time_over_linear_growth": growth,
            "peak_gib": round(peak / GIB, 2),
        },
    )


if __name__ == "__main__":
    main()
