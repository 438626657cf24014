"""Names of the processor and the GPU, peak memory, and the measured speed of matrix products."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch

from embedtune.compute.device import DTYPES
from embedtune.compute.memory import peak_ram_bytes

SECONDS = 0.3  # duration of one speed measurement


def name(device: torch.device) -> str:
    """The name of the GPU, or of the processor if `device` is not a CUDA GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """The name of the processor, from /proc/cpuinfo on Linux, else from Python's `platform`."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def peak_bytes(device: torch.device) -> dict[str, int]:
    """The peak memory of this process in bytes: in RAM, and of its tensors on its CUDA GPU (0 without one)."""
    return {
        "peak_ram_bytes": peak_ram_bytes(),
        "peak_gpu_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    }


def matrix_rate(device: torch.device, precision: str) -> float:
    """Measure the floating-point operations per second of a square matrix product in fp32, fp16 or bf16."""
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
