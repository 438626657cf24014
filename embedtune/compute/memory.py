"""Peak RAM of this process, the memory that is free, and whether malloc keeps freed memory.

The module does not import torch, so that programs without torch can be measured too.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

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


def free_bytes(device: torch.device, processes: int = 1) -> int | None:
    """The memory in bytes that this process, one of `processes` alike, can still take; None if `device` does not tell.

    On a GPU it is what the driver has free and what torch holds without using it. On a CPU it is the least of what the
    machine has available, what the process's control groups (Docker's `--memory`, systemd) leave, and its `ulimit -v`.
    """
    if device.type == "cuda":
        import torch

        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    together = min([psutil.virtual_memory().available, *_left_by_control_groups()])
    return max(0, min([together // processes, *_left_by_ulimit()]))


def _left_by_control_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[int]:
    """What each control group of this process, version 1 or 2, leaves of its limit; nothing where there is no limit.

    In a container, whose groups are out of sight, the root stands for its own. File pages that the system would drop
    are not counted as used.
    """
    lines = own.read_text().splitlines() if own.exists() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        limit, used, dropped = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if controllers
            else ("memory.max", "memory.current", "inactive_file")
        )
        for group in (part for part in (top / path.strip("/"), *(top / path.strip("/")).parents) if part >= top):
            if not (group / limit).exists() or not (most := (group / limit).read_text().strip()).isdigit():
                continue
            statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield int(most) - int((group / used).read_text()) + int(statistics.get(dropped, 0))


def _left_by_ulimit() -> Iterator[int]:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        yield most - psutil.Process().memory_info().vms


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
