"""Peak RAM of this process, and whether malloc keeps freed memory.

The module does not import torch, so that programs without torch can be measured too.
"""

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
    """The peak RAM of this program in bytes.

    On Linux it is VmHWM (proc(5)), which excludes what the process held before it started this program (exec).
    """
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def keep_freed_memory(device: torch.device) -> None:
    """On a CPU, make glibc's malloc keep freed memory for later allocations; elsewhere do nothing.

    By default malloc maps new pages for every large tensor and returns them afterwards. This takes a fifth of the time
    of a training step. The price: the process holds its peak memory until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if device.type == "cpu" and mallopt is not None:
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX in malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)
