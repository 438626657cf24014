"""Choice of the device and of the numeric precision."""

from __future__ import annotations

import os

import torch

from embedtune.core.errors import ParameterError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}  # by their names in params.yaml


def pick_device() -> torch.device:
    """The CUDA GPU of this process (torchrun's LOCAL_RANK, or the first one), else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def encoding_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of weights and activations when encoding: auto is fp16 on a CUDA GPU, fp32 elsewhere."""
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    return DTYPES[precision]


def training_precision(precision: str, device: torch.device) -> str:
    """The precision for mixed-precision training: fp32, fp16 or bf16.

    auto is bf16 on a CUDA GPU that supports it, fp16 on an older one, fp32 elsewhere. Raises ParameterError for fp16
    without a CUDA GPU.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ParameterError("precision", "fp16 needs an NVIDIA GPU; write auto, bf16 or fp32")
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
