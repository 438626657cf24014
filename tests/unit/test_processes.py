"""Processes: never more than the machine has, and none that outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from embedtune.compute import distributed
from embedtune.compute.processes import processor_count
from embedtune.core.errors import ParameterError

ROOT = Path(__file__).resolve().parents[2]
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(60)
"""
CHILD = """
import os, time
from embedtune.compute.processes import end_with_parent
end_with_parent(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_child_ends_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert child.wait(timeout=30) is None or not child.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_child_whose_parent_has_ended_already_ends_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from embedtune.compute.processes import end_with_parent; end_with_parent(0)"],
        cwd=ROOT,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL


def test_the_processes_of_a_training_are_at_most_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed.torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(distributed, "processor_count", lambda: 4)
    assert distributed.processes_per_node("auto") == 1
    assert distributed.processes_per_node(4) == 4
    with pytest.raises(ParameterError) as caught:
        distributed.processes_per_node(1000)
    assert str(caught.value) == ("nproc_per_node: expected auto or at most 4, the processors of this machine, got 1000")


def test_the_processors_that_this_process_may_use_are_counted() -> None:
    assert 1 <= processor_count() <= (os.cpu_count() or 1)
