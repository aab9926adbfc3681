"""What a step frees is there for the next one, and goes back to the kernel when it is told to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
STEPS = """
import resource
from pathlib import Path
from kerora.fast.allocator import keep_heap, release_freed

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
    from kerora.fast.allocator import keep_heap

    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    assert not keep_heap()


@pytest.mark.parametrize(("said", "least", "most"), [(None, 60_000, 90_000), ("0", -5_000, 5_000)])
@pytest.mark.skipif(
    not HUGE_PAGES.is_file() or "[madvise]" not in HUGE_PAGES.read_text(), reason="huge pages are not for the asking"
)
def test_large_tensors_lie_on_huge_pages(said: str | None, least: int, most: int) -> None:
    program = """
from pathlib import Path
from kerora.fast.allocator import keep_heap, use_huge_pages

def huge():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if "AnonHugePages" in line).split()[1])

keep_heap()
use_huge_pages()
import torch

before = huge()
tensor = torch.ones(20_000_000)  # 80 MB
print(huge() - before)
"""
    variables = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    variables |= {} if said is None else {"THP_MEM_ALLOC_ENABLE": said}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=variables)
    assert least < int(done.stdout) < most
