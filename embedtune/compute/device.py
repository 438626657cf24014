"""Choice of the device and of the numeric precision."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import torch

from embedtune.core.errors import ParameterError

FASTER = 1.3  # bf16 is chosen where it multiplies so many times as fast as fp32; natively it is two to ten times
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}  # by their names in params.yaml


def pick_device(wanted: str = "auto") -> torch.device:
    """The device that computes: auto, cpu, cuda, cuda:N or mps, as `see_only` reads it.

    auto is the CUDA GPU of this process (torchrun's LOCAL_RANK, or the first one), else Apple's GPU, else the CPU; cuda
    is that GPU, and cuda:N the only one in sight. Raises ParameterError for a device that is not there.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps, kind = torch.backends.mps.is_available(), wanted.partition(":")[0]
    if (kind == "cuda" and not gpus) or (kind == "mps" and not has_mps):
        there = ["cpu", *(["cuda"] if gpus else []), *(["mps"] if has_mps else [])]
        raise ParameterError("device", f"{wanted} is not in sight; there is {', '.join(there)}; auto takes the best")
    if kind == "cuda" or (kind == "auto" and gpus):
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if kind == "mps" or (kind == "auto" and has_mps) else "cpu")


def encoding_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of weights and activations when encoding, by `encoding_precision`."""
    return DTYPES[encoding_precision(precision, device)]


def encoding_precision(precision: str, device: torch.device) -> str:
    """The precision of weights and activations when encoding: fp32, fp16 or bf16.

    auto is fp16 on a CUDA GPU, bf16 on a CPU that is faster with it, and fp32 elsewhere.
    """
    if precision != "auto":
        return precision
    return "fp16" if device.type == "cuda" else _precision_of_cpu(device)


def half_on_gpu(device: torch.device) -> torch.dtype:
    """fp16 on a CUDA GPU, fp32 elsewhere: a dtype that does not depend on what a CPU multiplies natively."""
    return torch.float16 if device.type == "cuda" else torch.float32


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not get memory: a GPU's, or on a CPU what the system gives this process (`ulimit -v`).

    On a CPU torch's own allocator says so; oneDNN, which multiplies matrices, says that it "could not create"
    something.
    """
    words = ("DefaultCPUAllocator", "could not create a primitive", "could not create a memory")
    return isinstance(error, torch.OutOfMemoryError) or any(part in str(error) for part in words)


def mixed_precision(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """The context in which a model with fp32 weights computes in `dtype`."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def bf16_is_native() -> bool:
    """Whether this CPU multiplies bf16 by instructions of its own (AMX, AVX512-BF16, or ARM's)."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))


def bf16_is_faster() -> bool:
    """Whether this CPU multiplies bf16 natively and, in a short timing, FASTER times as fast as fp32."""
    return bf16_is_native() and _seconds(torch.float32) > FASTER * _seconds(torch.bfloat16)


def _seconds(dtype: torch.dtype) -> float:
    """The least time of a linear layer's product of 1024 tokens, as wide as a base model's."""
    tokens, layer = torch.ones(1024, 768, dtype=dtype), torch.nn.Linear(768, 3072, dtype=dtype)
    seconds = []
    with torch.inference_mode():
        for _ in range(5):
            started = time.perf_counter()
            layer(tokens)
            seconds.append(time.perf_counter() - started)
    return min(seconds)


def _precision_of_cpu(device: torch.device) -> str:
    return "bf16" if device.type == "cpu" and bf16_is_faster() else "fp32"


def training_precision(precision: str, device: torch.device) -> str:
    """The precision for mixed-precision training: fp32, fp16 or bf16.

    auto is bf16 on a CUDA GPU that supports it and on a CPU that is faster with it, fp16 on an older GPU, and fp32
    elsewhere. Raises ParameterError for fp16 without a CUDA GPU.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ParameterError("precision", "fp16 needs an NVIDIA GPU; write auto, bf16 or fp32")
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return _precision_of_cpu(device)
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
