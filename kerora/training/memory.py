"""Peak memory of the process."""

import sys

import torch


def peak_memory_mb() -> float:
    """Return the peak memory in MB (10^6 bytes): allocated GPU memory if a GPU is used, else resident memory."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    return _peak_resident_bytes() / 1e6


if sys.platform == "win32":
    import psutil

    def _peak_resident_bytes() -> int:
        return int(psutil.Process().memory_info().peak_wset)
elif sys.platform == "linux":
    from pathlib import Path

    def _peak_resident_bytes() -> int:
        # Not getrusage: on Linux its peak includes the peak of the process that started this program.
        # The unit of VmHWM is KiB.
        status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
else:
    import resource

    def _peak_resident_bytes() -> int:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere
