"""What the C library does with memory that was freed: kept while a stage calculates, handed back when it is done.

glibc's malloc maps each block of more than 32 MB afresh and unmaps it when it is freed, so the kernel fills its pages with zeros again at every
call. The activations of a picture model are such blocks: EfficientNet-Lite2 answers 1.4 times faster at 128 pixels, and 2.3 times at 224, where they
are kept (`benchmarks/arithmetic.py`). Elsewhere than on glibc nothing is changed.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
FREED_MAX = 2**31 - 1  # bytes at the heap's end that may lie free, the most that mallopt takes


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, what is freed stays with this process for the next block; behind, what is free then goes back to the system."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, FREED_MAX)
    try:
        yield
    finally:
        libc.malloc_trim(ctypes.c_size_t(0))
