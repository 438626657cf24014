"""Which device computes, in which precision, and what becomes of memory that is freed."""

from __future__ import annotations

import ctypes
import os

import torch

from embedtune.errors import EmbedTuneError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}  # by params.yaml's names


def pick_device() -> torch.device:
    """The CUDA GPU that torchrun gave this process, or the first one; else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def keep_freed_memory(device: torch.device) -> None:
    """On a CPU, let glibc's malloc keep what is freed for what comes next; elsewhere nothing happens.

    Left to itself it maps every large tensor anew and gives it back afterwards, page by page: a fifth of the time of a
    training step. The process holds the most that it has needed until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if device.type == "cpu" and mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX in malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def encoding_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of weights and activations when encoding: auto is fp16 on a GPU, fp32 elsewhere."""
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    return DTYPES[precision]


def training_precision(precision: str, device: torch.device) -> str:
    """fp32, fp16 or bf16 for mixed-precision training: auto is bf16 on a GPU that computes in it, fp16 on an older
    one, fp32 elsewhere. Raises EmbedTuneError for fp16 without a GPU, which torch cannot scale there."""
    if precision == "fp16" and device.type != "cuda":
        raise EmbedTuneError("params.yaml: train.precision: fp16 needs an NVIDIA GPU; write auto, bf16 or fp32")
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
