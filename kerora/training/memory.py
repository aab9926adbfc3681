"""How much memory the process took at its peak."""

import sys

import torch


def peak_memory_mb() -> float:
    """Return the peak memory in MB (10^6 bytes): allocated on the GPU where one is used, else resident."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    return _peak_resident_bytes() / 1e6


if sys.platform == "win32":
    import psutil

    def _peak_resident_bytes() -> int:
        return int(psutil.Process().memory_info().peak_wset)
else:
    import resource

    def _peak_resident_bytes() -> int:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Linux counts in units of 1,024 bytes, macOS in bytes
        return peak if sys.platform == "darwin" else peak * 1024
