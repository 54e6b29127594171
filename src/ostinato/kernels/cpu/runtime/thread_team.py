"""Kernels side by side, on the threads of torch's own OpenMP team.

After each operation torch's threads spin for milliseconds, and a second pool would fight them for the cores. So the
jobs run inside that very team: `GOMP_parallel` of the library that torch is linked to; LLVM's OpenMP has it too.

A job is `(function, integers)`. The function is the address of a C function `void (int64 *)`, which finds the integers
in its array, or anything that `compile_cache.entry` makes one of. It holds no lock of Python's and cannot raise.

The environment variable OSTINATO_TEAM forces a way: `omp`, `pool` (plain threads), `none` (one job after the other).
"""

import os
import queue
import threading
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

from .compile_cache import entry
from .openmp import library

Job = tuple[Any, Sequence[int]]
_WAYS = ("omp", "pool", "none")
_HOME = os.getpid()


def parallel_for(jobs: Sequence[Job]) -> None:
    """Runs the jobs and comes back when all are done; at most `torch.get_num_threads()` of them at once.

    Which thread runs which job is open, so no job may depend on another. It may be called from several threads of
    Python at once. In a forked child the parent's OpenMP team is gone, and waiting for it would never end: there
    torch has one thread (see `backend`), and the jobs run one after the other.

    Raises:
        ValueError: OSTINATO_TEAM is none of omp, pool, none.
        TypeError, OverflowError: an argument is no integer, or needs more than 64 bits.
    """
    if not jobs:
        return
    shared = _shared(jobs)
    threads = min(len(jobs), torch.get_num_threads())
    way = team() if threads > 1 else "none"
    start = shared.buffer_info()[0]
    if way == "omp":
        code = library()
        assert code.parallel and code.member
        code.parallel(code.member, start, threads, 0)
    elif way == "pool":
        _POOL.run(shared, threads)
    else:
        library().work(start, 0)


class Abreast:
    """Jobs that wait for each other, so that each needs a thread of its own; laid out once, run often.

    Args:
        jobs: addresses of C functions, and of their integers.
        alone: does the work of all, where there are not so many threads.
    """

    def __init__(self, jobs: Sequence[tuple[int, int]], alone: tuple[int, int]) -> None:
        self.threads = len(jobs)
        self.jobs, self.alone, self.all = (_table(given) for given in (jobs, [alone], [*jobs, alone]))

    def run(self) -> None:
        """Runs the jobs and comes back when all are done."""
        way = team() if 1 < self.threads <= torch.get_num_threads() else "none"
        code = library()
        if way == "omp":
            assert code.parallel and code.abreast
            code.parallel(code.abreast, self.all.buffer_info()[0], self.threads, 0)
            return
        shared = self.jobs if way == "pool" else self.alone
        shared[1::3] = array("q", [0] * shared[0])  # nobody has claimed them
        if way == "none":
            code.work(shared.buffer_info()[0], 0)
            return
        with _ONE_AT_A_TIME:
            _POOL.run(shared, self.threads)


# Two sets of jobs that wait would each hold threads that the other waits for.
_ONE_AT_A_TIME = threading.Lock()


def team() -> str:
    """How jobs run here: "omp" (inside torch's OpenMP team), "pool" (plain threads), "none" (one after the other).

    Raises:
        ValueError: OSTINATO_TEAM is none of these.
    """
    way = _chosen()
    return "none" if way == "omp" and os.getpid() != _HOME else way


@cache
def _chosen() -> str:
    way = os.environ.get("OSTINATO_TEAM", "")
    if way and way not in _WAYS:
        raise ValueError(
            f"OSTINATO_TEAM must be one of {', '.join(_WAYS)}, and is {way!r}; set one of them, or unset it"
        )
    if way in ("pool", "none"):
        return way
    return "omp" if library().parallel else "pool"


def _table(jobs: Sequence[tuple[int, int]]) -> array:
    """Jobs whose integers lie somewhere already."""
    return array("q", [len(jobs), *(word for function, integers in jobs for word in (0, function, integers))])


def _shared(jobs: Sequence[Job]) -> array:
    """The jobs as the threads see them; the integers stand behind the table."""
    table, numbers, at = [len(jobs)], [], 1 + 3 * len(jobs)
    for function, integers in jobs:
        address = function if isinstance(function, int) else entry(function, len(integers)).address
        table += (0, address, 8 * at)
        numbers += integers
        at += len(integers)
    shared = array("q", table + numbers)
    start = shared.buffer_info()[0]
    for number in range(len(jobs)):
        shared[3 + 3 * number] += start
    return shared


class _Pool:
    """Threads that wait for work, made when first needed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.todo: queue.SimpleQueue[tuple[array, int, queue.SimpleQueue[None]]] = queue.SimpleQueue()
        self.size = 0

    def run(self, shared: array, threads: int) -> None:
        with self.lock:
            for _ in range(self.size, threads - 1):
                threading.Thread(target=self._serve, args=(library().work,), daemon=True).start()
                self.size += 1
        done: queue.SimpleQueue[None] = queue.SimpleQueue()
        handed = 0
        try:
            for handed in range(1, threads):
                self.todo.put((shared, handed, done))
            library().work(shared.buffer_info()[0], 0)
        finally:
            _wait(done, handed)

    def _serve(self, work: Callable[[int, int], None]) -> None:
        while True:
            shared, first, done = self.todo.get()
            work(shared.buffer_info()[0], first)
            done.put(None)


def _wait(done: "queue.SimpleQueue[None]", count: int) -> None:
    """Waits for `count` threads, even through Ctrl-C: they still write into the caller's memory."""
    interrupt = None
    while count:
        try:
            done.get()
            count -= 1
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt:
        raise interrupt


_POOL = _Pool()
if hasattr(os, "register_at_fork"):
    # A child has none of its parent's threads, and maybe a lock that one of them held.
    os.register_at_fork(after_in_child=_POOL.__init__)
