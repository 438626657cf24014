"""compute.device: which GPUs a process sees, and what is refused."""

from __future__ import annotations

import os

import pytest
import torch

from embedtune.compute.device import pick_device
from embedtune.compute.visible_devices import CHOSEN, VISIBLE, see_only
from embedtune.core.errors import ParameterError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set and removed again after the test."""
    for name in (VISIBLE, CHOSEN):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("device", "given", "seen"),
    [
        ("auto", None, None),
        ("auto", "2,3", "2,3"),
        ("cuda", None, None),
        ("cpu", None, ""),
        ("cpu", "2,3", ""),
        ("mps", None, ""),
        ("cuda:1", None, "1"),
        ("cuda:1", "2,3", "3"),
        ("cuda:0", "GPU-8f2a", "GPU-8f2a"),
    ],
)
def test_the_gpus_that_are_left(device: str, given: str | None, seen: str | None) -> None:
    if given is not None:
        os.environ[VISIBLE] = given
    see_only(device)
    assert os.environ.get(VISIBLE) == seen
    see_only(device)
    assert os.environ.get(VISIBLE) == seen, "a process that this one starts counts no second time"


def test_a_number_beyond_what_the_environment_leaves() -> None:
    os.environ[VISIBLE] = "2,3"
    with pytest.raises(ParameterError, match="device: cuda:2 is not in sight: CUDA_VISIBLE_DEVICES is 2,3"):
        see_only("cuda:2")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused(wanted: str) -> None:
    with pytest.raises(ParameterError, match=f"device: {wanted} is not in sight; there is cpu"):
        pick_device(wanted)


def test_the_cpu_and_what_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == pick_device("cuda") == pick_device("cuda:1") == torch.device("cuda", 0)
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == torch.device("cuda", 1)
