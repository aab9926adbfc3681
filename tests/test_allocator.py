"""What a step frees is there for the next one, and goes back to the kernel when it is told to."""

import os
import subprocess
import sys

import pytest

STEPS = """
import resource
from pathlib import Path
from kerora.allocator import keep_heap, release_freed

def resident():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line).split()[1])

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

assert keep_heap()
import torch

def step():
    return [torch.ones(2_000_000) for _ in range(40)]  # 320 MB

torch.ones(5_000_000)
step()
before = faults()
step()
count, kept = faults() - before, resident()
release_freed()
print(count, kept - resident())
"""


def second_step() -> tuple[int, int]:
    """Return the page faults of a second step, and the kB that were given back after it."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", STEPS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    faults, released = map(int, done.stdout.split())
    return faults, released


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_the_second_step_reuses_the_memory_of_the_first() -> None:
    faults, released = second_step()
    assert faults < 26_000  # of 78,125 pages
    assert released > 200_000


def test_what_the_environment_says_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from kerora.allocator import keep_heap

    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    assert not keep_heap()
