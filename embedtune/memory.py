"""The RAM that this program holds, and what becomes of what it frees; imports no torch, to measure others with."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def peak_ram_bytes() -> int:
    """The most RAM that this program has held; on Linux without what its process held before it (VmHWM, proc(5))."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
