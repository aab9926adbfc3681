"""What training frees goes back to the kernel."""

import os
import subprocess
import sys

import pytest

HOLES = """
import sys
from pathlib import Path
from kerora.allocator import limit_heap

def resident():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line).split()[1])

if sys.argv[1] == "limited":
    assert limit_heap()
import torch
torch.ones(5_000_000)  # frees 20 MB, whereupon glibc by itself would serve 3 MB from its heap
blocks, kept = [], []
before = resident()
for number in range(60):
    blocks.append(torch.ones(800_000))
    kept.append(torch.ones(20_000))  # keeps the heap from shrinking
del blocks
print(resident() - before)
"""


def left_over(how: str, **environment: str) -> int:
    """Return how many kB stay resident of 192 MB that were freed between small tensors that live on."""
    names = ("MALLOC_MMAP_THRESHOLD_", "THP_MEM_ALLOC_ENABLE")
    variables = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", HOLES, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**variables, **environment})
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_tensors_do_not_stay_resident() -> None:
    limited, free = left_over("limited"), left_over("free")
    assert limited < 40_000
    assert limited < free / 2


def test_what_the_environment_says_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    from kerora.allocator import limit_heap

    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    assert not limit_heap()
