"""Memory for big arrays, taken again and again: the first touch of fresh pages costs more than most kernels.

A block of pages goes out as a tensor and comes back when the last tensor, view or NumPy array on it is gone: each time
the storage refers to an object of its own, whose end says so. So nothing that somebody still reads is handed out again.
"""

import math
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes; torch's own memory serves what is smaller
_HUGE = 1 << 21  # bytes of a huge page
_WASTE = 1.25  # how much larger than asked for a block may be


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A contiguous tensor on the CPU whose values do not matter: from 1 MiB on it may lie where a former one lay.

    Its storage cannot grow. Where the system has no huge pages to ask for (macOS, Windows) it is `torch.empty`'s.
    """
    count = math.prod(shape)
    size = count * dtype.itemsize
    if size < SMALLEST or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(tuple(shape), dtype=dtype, device="cpu")
    block = _IDLE.take(size) or _Block(size)
    # One object for each lending: `frombuffer` keeps it as long as the storage lives.
    lent = np.frombuffer(block.pages, np.uint8, block.size, block.start)
    weakref.finalize(lent, _IDLE.give, block).atexit = False
    return torch.frombuffer(lent, dtype=dtype, count=count).view(tuple(shape))


def scratch(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Memory as `empty` gives it, for one call: this thread's next call gets the same. Bytes: the largest asked for."""
    count = math.prod(shape)
    kept = _SCRATCH.__dict__.get(str(dtype))
    if kept is None or len(kept) < count:
        kept = _SCRATCH.__dict__[str(dtype)] = empty((count,), dtype)
    return kept[:count].view(tuple(shape))


def idle() -> int:
    """Bytes that are kept for the next call."""
    return _IDLE.total()


def release() -> None:
    """Gives all idle memory back to the system."""
    _IDLE.clear()


class _Block:
    """Pages of this process alone: a child of a fork gets a copy, not a share."""

    def __init__(self, size: int) -> None:
        self.size = -(-size // _HUGE) * _HUGE
        # Only whole aligned huge pages count, and mmap aligns to small ones. Untouched pages cost nothing.
        self.pages = mmap.mmap(-1, self.size + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.start = -np.frombuffer(self.pages, np.uint8).ctypes.data % _HUGE
        try:
            self.pages.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            return  # a system built without them: small pages are right, only slower


class _Idle:
    """Blocks that nobody uses, the longest idle first, up to `largest` bytes."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.back: deque[_Block] = deque()
        self.blocks: list[_Block] = []
        self.lock = threading.Lock()

    def give(self, block: _Block) -> None:
        """Runs wherever the last reference ends, inside `take` too: so it waits for nobody."""
        self.back.append(block)
        if self.lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self.lock.release()

    def take(self, size: int) -> _Block | None:
        """The smallest idle block of this size or a little more."""
        with self.lock:
            self._collect()
            fitting = [b for b in self.blocks if size <= b.size <= max(size * _WASTE, size + _HUGE)]
            # The last of equals: what was used last is likeliest in a cache still.
            found = min(reversed(fitting), key=lambda b: b.size, default=None)
            if found:
                self.blocks.remove(found)
            return found

    def total(self) -> int:
        with self.lock:
            self._collect()
            return sum(b.size for b in self.blocks)

    def clear(self) -> None:
        with self.lock:
            self._collect()
            self.blocks.clear()

    def _collect(self) -> None:
        while self.back:
            self.blocks.append(self.back.popleft())
        total = sum(b.size for b in self.blocks)
        while total > self.largest:
            total -= self.blocks.pop(0).size

    def after_fork(self) -> None:
        """A thread that the child does not have may hold the parent's lock."""
        self.lock = threading.Lock()


def _memory_of_machine() -> int:
    """Bytes of the machine, or of the container if it may use less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4 << 30
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return total


_IDLE = _Idle(_memory_of_machine() // 8)
_SCRATCH = threading.local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_IDLE.after_fork)
