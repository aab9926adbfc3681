"""The peak of memory: of this process, in MB of 10^6 bytes, and the GPU's where one is used."""

import resource
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch

from kerora.training.memory import peak_memory_mb
from tests.conftest import ROOT


def test_the_peak_is_what_the_system_says() -> None:
    before = psutil.Process().memory_info().rss / 1e6
    found = peak_memory_mb()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # a process inherits the peak of its parent in the second number, so it is an upper bound alone
    assert 0.98 * before <= found <= 1.02 * kilobytes * 1024 / 1e6


def test_the_peak_does_not_fall_when_memory_is_freed() -> None:
    block = np.ones(8_000_000)
    with_block = peak_memory_mb()
    assert with_block >= block.nbytes / 1e6
    del block
    assert peak_memory_mb() >= with_block - 2  # the kernel counts pages in batches


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not inherit it")
def test_a_small_child_does_not_have_the_peak_of_its_parent() -> None:
    lines = "VmHWM = [int(x.split()[1]) for x in open('/proc/self/status') if x.startswith('VmHWM')]\nprint(VmHWM[0])"
    output = subprocess.run([sys.executable, "-S", "-c", lines], capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(output.stdout) * 1024 / 1e6 < peak_memory_mb() / 2


def test_on_a_gpu_it_is_what_torch_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = peak_memory_mb()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert peak_memory_mb() >= resident  # nothing ran there: it would be zero
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 1_234_000_000)
    assert peak_memory_mb() == 1234.0
