"""Lets the allocator of glibc reuse the memory that a training step frees, and puts large tensors on large pages.

A step allocates and frees hundreds of large tensors. By default glibc returns the top of its heap to the kernel after
each step. It also maps each large tensor separately, so that the kernel must provide and clear new pages every time.
With fixed thresholds the pages stay with the process for the next step. The memory that stays is limited, because a
step computes only a few rows at a time (`kerora.training.step`). Large pages need fewer address lookups.
"""

import contextlib
import ctypes
import os
import sys

from kerora.fast.switch import is_plain

MMAP_BYTES = 2**25
"""From this size an allocation is mapped separately. This is the largest threshold that every glibc accepts."""
TRIM_BYTES = 2**30
"""Largest amount of free memory at the top of the heap."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""The numbers of mallopt(3)."""


def keep_heap() -> bool:
    """Fix the thresholds of glibc. Return whether that was possible.

    Nothing is changed with another allocator or operating system, or if the environment sets the threshold
    (``MALLOC_MMAP_THRESHOLD_``). Call this before the first tensor is made.
    """
    if is_plain() or not sys.platform.startswith("linux") or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no mallopt.
        return False
    # Setting one threshold stops glibc from adapting the other, so both are set.
    return bool(mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, TRIM_BYTES))


def use_huge_pages() -> None:
    """Let torch use pages of 2 MB for tensors of that size and more, unless the environment sets it.

    Only Linux has these pages, if ``/sys/kernel/mm/transparent_hugepage/enabled`` is not ``never``. Call this before
    the first tensor is made.
    """
    if not is_plain():
        # torch reads the variable once, at its first allocation.
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def release_freed() -> None:
    """Return the free memory in the heap of glibc to the kernel. Do nothing on other systems."""
    # With the threshold of `keep_heap`, glibc itself keeps up to `TRIM_BYTES` of free memory.
    if sys.platform.startswith("linux") and not is_plain():
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
