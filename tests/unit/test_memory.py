"""What a program has held, and what becomes of freed memory, told by the pages that the kernel hands out."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from embedtune.compute.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory(torch.device("cpu"))
for _ in range(20):
    torch.ones(16_000_000)  # 64 MB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def pages(what: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, what], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc alone has these settings")
def test_freed_memory_is_used_again() -> None:
    """Twenty tensors of one size, one after the other: the first one's pages serve them all."""
    started = pages("leave")
    assert pages("keep") < 0.6 * started


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a program's own peak")
def test_a_programs_peak_is_its_own_and_not_its_parents() -> None:
    """The parent holds 400 MB while it starts one that holds 50."""
    script = (
        "from embedtune.compute.memory import peak_ram_bytes; held = bytearray(50_000_000); print(peak_ram_bytes())"
    )
    held = bytearray(b"x") * 400_000_000
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 50_000_000 < int(done.stdout) < 150_000_000 < len(held)
