"""The processors of this machine, and child processes that end with their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that a process gets when its parent ends


def processor_count() -> int:
    """The number of processors that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent(parent: int) -> None:
    """On Linux, let the system kill this process when its parent, the process `parent`, ends. Call it in the child.

    A parent that is killed cannot end its children, which would go on, or wait for it, on its processors and in its
    memory. Nothing is lost: outputs and checkpoints are whole or absent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            os.kill(os.getpid(), signal.SIGKILL)
