"""Which GPUs this process sees, for torch and FAISS alike. The module imports neither."""

from __future__ import annotations

import os

from embedtune.core.errors import ParameterError

VISIBLE = "CUDA_VISIBLE_DEVICES"  # CUDA's own environment variable: numbers or names, with commas between
CHOSEN = "EMBEDTUNE_DEVICE"  # what was chosen, for processes that this one starts


def see_only(device: str) -> None:
    """Let this process, and those that it starts, see the NVIDIA GPUs that `device` stands for, and no other.

    auto and cuda leave all of them, cuda:N leaves the one with number N, which is then the first; cpu and mps leave
    none. Call it before torch or FAISS ask for GPUs. Raises ParameterError if there is no number N among those that the
    environment leaves to this process.
    """
    if os.environ.get(CHOSEN) == device:  # a process that started this one has chosen
        return
    kind, _, number = device.partition(":")
    if kind in ("cpu", "mps"):
        os.environ[VISIBLE] = ""
    elif number:
        given = os.environ.get(VISIBLE)
        there = given.split(",") if given is not None else None
        if there is not None and int(number) >= len(there):
            raise ParameterError("device", f"{device} is not in sight: {VISIBLE} is {given}")
        os.environ[VISIBLE] = there[int(number)] if there is not None else number
    os.environ[CHOSEN] = device
