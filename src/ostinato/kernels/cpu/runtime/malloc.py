"""The C library's memory for a process that trains: freed blocks stay with it.

glibc gives each large block back to the system as it is freed, and the next one is fresh pages, whose first touch costs
more than most operations on them. Training takes the same sizes at each step.
"""

import ctypes
import os
import sys
from functools import cache

# <malloc.h>: the options of mallopt, and what keeps them as a user has set them.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
_NEVER = (1 << 31) - 1  # bytes free at the heap's end from which on it shrinks


@cache
def retain_freed_pages() -> bool:
    """From now on freed memory waits for the next operation, in this process, until it ends; whether that is so.

    For glibc alone, and not where the environment says how its memory is to be managed, or brings another allocator.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _SET_BY_USER):
        return False
    try:
        library = ctypes.CDLL(None)
    except OSError:
        return False
    if not hasattr(library, "gnu_get_libc_version"):  # musl, whose mallopt does nothing
        return False
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, _NEVER))
