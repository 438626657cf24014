"""What a step's memory holds: activations against what the process takes, and the chunking that follows."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from embedtune.compute import memory
from embedtune.core.errors import ParameterError
from embedtune.models.adapters import load_for_training
from embedtune.models.settings import read_settings
from embedtune.training import step_memory
from embedtune.training.grad_cache import Chunking
from embedtune.training.objectives.contrastive import Contrastive
from embedtune.training.step_memory import activation_bytes, chunking_for, fitting

CPU = torch.device("cpu")
BF16 = functools.partial(torch.autocast, "cpu", torch.bfloat16)


def embedder(base: Path, attention_dropout: float | str = 0.0) -> torch.nn.Module:
    adapter = {"lora_r": 1, "lora_alpha": 1, "lora_dropout": 0.0, "lora_target_modules": None, "qlora_bits": 4}
    model = load_for_training(
        base, "full", attention_dropout=attention_dropout, **adapter, compute_dtype=torch.float32, device=CPU
    )
    return Contrastive().embedder(model, read_settings(base))


def test_activations_grow_with_tokens_and_shrink_in_bf16(base: Path) -> None:
    """Without attention dropout the kernel keeps no scores; with it, it keeps them all."""
    model = embedder(base)
    short, long = (activation_bytes(model, tokens, contextlib.nullcontext) / tokens for tokens in (16, 64))
    assert long == pytest.approx(short, rel=0.02)
    assert activation_bytes(model, 64, BF16) < 0.8 * 64 * long
    with_scores = embedder(base, attention_dropout=0.1)
    assert activation_bytes(with_scores, 64, contextlib.nullcontext) > 1.1 * 64 * long


MEASURED = """
import sys, torch
from pathlib import Path
import psutil
from embedtune.training.step_memory import activation_bytes
from tests.golden.test_step_memory import embedder
import contextlib
model = embedder(Path(sys.argv[1]))
def features(n):
    return {name: torch.ones(n, 64, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
model.encode(features(8)).sum().backward()
before = psutil.Process().memory_info().rss
kept = model.encode(features(1500))
print(psutil.Process().memory_info().rss - before, 1500 * activation_bytes(model, 64, contextlib.nullcontext))
"""


def test_the_activations_are_what_a_process_takes_for_them(base: Path) -> None:
    """A process of its own, which has freed nothing that could be used again: within a fifth."""
    done = subprocess.run([sys.executable, "-c", MEASURED, str(base)], capture_output=True, text=True, check=True)
    taken, foretold = map(int, done.stdout.split())
    assert foretold > 2e8
    assert taken == pytest.approx(foretold, rel=0.2)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (10**9, Chunking(100, 900)),  # all of the batch's 900 tokens
        (5_500, Chunking(100, 500)),  # half a chunk for the backward pass's own, the rest is kept
        (1_500, Chunking(100, 100)),
        (1_499, Chunking(99, 99)),  # no room for a chunk of 100 tokens and half as much again
        (300, Chunking(20, 20)),
    ],
)
def test_memory_is_for_a_chunk_first_and_then_for_what_is_kept(budget: int, expected: Chunking) -> None:
    chunking = fitting(budget, per_token=10, temporary=0.5, chunk=100, longest=20, most=900)
    assert chunking == expected
    assert budget > 10**8 or 10 * (max(chunking.kept, chunking.tokens) + 0.5 * chunking.tokens) <= budget


def test_a_machine_that_holds_not_even_one_sequence_is_told_by_how_much() -> None:
    with pytest.raises(ParameterError, match=r"passage_max_len.*512 tokens needs 1\.54 GB.*0\.30 GB are left"):
        fitting(300_000_000, per_token=2_000_000, temporary=0.5, chunk=4096, longest=512, most=9999)


def test_a_written_number_needs_no_measurement(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_memory, "free_bytes", lambda device, processes: 0)
    choose = functools.partial(chunking_for, embedder(base), longest=32, most=10**6, autocast=contextlib.nullcontext)
    assert choose(2048) == Chunking(2048, 2048)
    assert choose(99_999) == Chunking(8192, 99_999)
    with pytest.raises(ParameterError, match="passage_max_len"):
        choose(None)


def test_processes_share_the_memory(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_memory, "free_bytes", lambda device, processes: 800_000_000 // processes)
    choose = functools.partial(chunking_for, embedder(base), None, 32, 10**6, contextlib.nullcontext)
    assert choose(processes=4).kept < 0.3 * choose(processes=1).kept


def test_the_least_of_machine_control_groups_and_ulimit_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 counts every group up to the root; version 1 its memory controller alone."""
    groups = tmp_path / "cgroup"
    for folder, files in {
        "jobs/mine": {"memory.max": "max"},
        "jobs": {"memory.max": "5000", "memory.current": "3000", "memory.stat": "anon 1\ninactive_file 400"},
        "memory/old": {
            "memory.limit_in_bytes": "9000",
            "memory.usage_in_bytes": "8000",
            "memory.stat": "total_inactive_file 50",
        },
    }.items():
        (groups / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (groups / folder / name).write_text(text + "\n")
    own = tmp_path / "own"
    own.write_text("4:memory:/old\n2:cpu:/jobs\n0::/jobs/mine\n")
    assert sorted(memory._left_by_control_groups(groups, own)) == [1050, 2400]
    assert list(memory._left_by_control_groups(tmp_path / "none", tmp_path / "no file")) == []
    monkeypatch.setattr(memory, "_left_by_control_groups", lambda: iter([2400]))
    assert (memory.free_bytes(CPU), memory.free_bytes(CPU, 2)) == (2400, 1200)
    monkeypatch.setattr(memory, "_left_by_ulimit", lambda: iter([700]))
    assert memory.free_bytes(CPU, 2) == 700, "each process has its own"


def test_a_lack_of_memory_while_counting_is_one_line(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch words it on a CPU; any other failure stays what it is."""
    model = embedder(base)
    torchs, onednns = "DefaultCPUAllocator: can't allocate memory", "could not create a primitive"
    for words, expected in ((torchs, ParameterError), (onednns, ParameterError), ("else", RuntimeError)):

        def failing(features: object, words: str = words) -> None:
            raise RuntimeError(words)

        monkeypatch.setattr(model, "encode", failing)
        with pytest.raises(expected, match="three texts of 32 tokens" if words != "else" else words):
            chunking_for(model, None, 32, 999, contextlib.nullcontext)
