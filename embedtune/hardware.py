"""How much of the hardware's rate a training uses: operations needed, against what a matrix product reaches."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch
from transformers import PretrainedConfig

from embedtune.device import DTYPES
from embedtune.memory import peak_ram_bytes
from embedtune.model import POOLER

SECONDS = 0.3  # of measuring


def name(device: torch.device) -> str:
    """The processor's or GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """The processor's name, as Linux tells it (/proc/cpuinfo) or as Python does."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def peak_bytes(device: torch.device) -> dict[str, int]:
    """The most memory that this process has held: in RAM, and on its GPU (0 without one)."""
    return {
        "peak_ram_bytes": peak_ram_bytes(),
        "peak_gpu_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    }


def training_flops(
    backbone: torch.nn.Module, config: PretrainedConfig, tokens: int, tokens_per_sequence: float
) -> float:
    """Floating-point operations of forward and backward over `tokens` tokens, without what is computed twice.

    4 for each weight in a matrix (embedding tables apart), 2 more for a trained one, 12 L d T for attention over T
    tokens in L layers of width d (PaLM, Chowdhery et al. 2022, appendix B).
    """
    tables = {id(m.weight) for m in backbone.modules() if isinstance(m, torch.nn.Embedding)}
    named = [(name, p) for name, p in backbone.named_parameters() if p.ndim > 1 and id(p) not in tables]
    matrices = [p for name, p in named if POOLER not in name.split(".")]
    weights = sum(weights_in(p) * (6 if p.requires_grad else 4) for p in matrices)
    attention: float = 12 * config.num_hidden_layers * config.hidden_size * tokens_per_sequence
    return tokens * (weights + attention)


def weights_in(parameter: torch.nn.Parameter) -> int:
    """How many weights a parameter stands for: bitsandbytes packs two of four bits into a byte."""
    return parameter.numel() * (2 if type(parameter).__name__ == "Params4bit" else 1)


def matrix_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a square matrix product in `precision`, measured here and now."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=DTYPES[precision]) for _ in range(2))

    def run(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            product = a @ b
        product[0, 0].item()  # waits for the device
        return time.perf_counter() - started

    run(2)
    times = max(1, int(SECONDS / run(1)))
    return 2.0 * size**3 * times / run(times)
