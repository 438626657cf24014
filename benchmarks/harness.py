"""Fair timing: contenders run in turn, each run in a fresh process, medians of several rounds, hardware named."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from embedtune.compute.memory import peak_ram_bytes

Runs = dict[str, list[dict[str, float]]]  # contender -> the figures of each round
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "tokenizers", "FlagEmbedding", "sentence-transformers", "faiss-cpu", "numpy")


def timed(work: Callable[[], Any]) -> None:
    """Run `work` and print its seconds and this process's peak memory as a JSON line: a contender's whole main."""
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_ram_bytes()}), flush=True)


def interleaved(module: str, contenders: list[str], arguments: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Run `python -m module CONTENDER *arguments` for each contender in turn, `rounds` times; medians by contender."""
    return medians(in_turn(module, contenders, arguments, rounds))


def in_turn(module: str, contenders: list[str], arguments: list[str], rounds: int) -> Runs:
    """As `interleaved`, every round by itself. A contender's name of several words is as many arguments."""
    runs: Runs = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in contenders:
            command = [sys.executable, "-m", module, *name.split(), *arguments]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr}")
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"round {turn + 1}/{rounds} {name}: {runs[name][-1]['seconds']:.2f} s", file=sys.stderr, flush=True)
    return runs


def medians(runs: Runs) -> dict[str, dict[str, float]]:
    """Of each contender's figures."""
    return {
        name: {key: statistics.median(run[key] for run in results) for key in results[0]}
        for name, results in runs.items()
    }


def time_over(runs: Runs, contender: str, other: str) -> float:
    """How many times as long a contender takes as another, as the median of the rounds' ratios.

    Where the machine is slow for a minute, both of a round suffer: their ratio says more than that of their medians.
    """
    pairs = zip(runs[contender], runs[other], strict=True)
    return round(statistics.median(ours["seconds"] / theirs["seconds"] for ours, theirs in pairs), 3)


def read_result(name: str) -> dict[str, Any]:
    """What `write_result` wrote."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def write_result(name: str, result: dict[str, Any]) -> None:
    """Write results/<name>.json with the hardware and the packages' versions beside it, and print it."""
    whole = {"hardware": hardware(), "packages": {package: _version(package) for package in PACKAGES}, **result}
    text = json.dumps(whole, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)


def hardware() -> dict[str, Any]:
    """Processor, cores at hand, memory in GB and GPU."""
    import torch

    from embedtune.compute.hardware import processor

    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None
