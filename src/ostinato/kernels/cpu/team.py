"""Kernels side by side, on the threads of torch's own OpenMP team.

After each operation torch's threads spin for milliseconds, and a second pool would fight them for the cores. So the
jobs run inside that very team: `GOMP_parallel` of the library that torch is linked to; LLVM's OpenMP has it too.

A job is `(function, integers)`. The function is the address of a C function `void (int64 *)`, which finds the integers
in its array, or anything that `cache.entry` makes one of. It holds no lock of Python's and cannot raise.

The environment variable OSTINATO_TEAM forces a way: `omp`, `pool` (plain threads), `none` (one job after the other).
"""

import ctypes
import os
import queue
import threading
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import torch

from .cache import entry

Job = tuple[Any, Sequence[int]]
_WAYS = ("omp", "pool", "none")
_HOME = os.getpid()

# What the threads share: [count, (claimed, function, integers) * count], all int64. The team may be smaller than asked
# for, and a thread may come late: thread k begins with job k and goes round, taking whatever nobody has claimed.
_WORK = """
define void @work(ptr %shared, i64 %first) {
entry:
  %count = load i64, ptr %shared
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %after, %done ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %claim, label %end
claim:
  %round = add i64 %first, %i
  %number = srem i64 %round, %count
  %place = mul i64 %number, 3
  %job = getelementptr i64, ptr %shared, i64 %place
  %claimed = getelementptr i64, ptr %job, i64 1
  %was = atomicrmw xchg ptr %claimed, i64 1 acq_rel
  %free = icmp eq i64 %was, 0
  br i1 %free, label %run, label %done
run:
  %function.at = getelementptr i64, ptr %job, i64 2
  %integers.at = getelementptr i64, ptr %job, i64 3
  %function = load ptr, ptr %function.at
  %integers = load ptr, ptr %integers.at
  call void %function(ptr %integers)
  br label %done
done:
  %after = add i64 %i, 1
  br label %next
end:
  ret void
}
"""
_MEMBER = """
define void @member(ptr %shared) {{
  %number = call i32 inttoptr (i64 {thread_number} to ptr)()
  %first = sext i32 %number to i64
  call void @work(ptr %shared, i64 %first)
  ret void
}}
"""


def together(jobs: Sequence[Job]) -> None:
    """Runs the jobs and comes back when all are done; at most `torch.get_num_threads()` of them at once.

    Which thread runs which job is open, so no job may depend on another. It may be called from several threads of
    Python at once. In a forked child the parent's OpenMP team is gone, and waiting for it would never end: there the
    jobs run one after the other.

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
        library = _library()
        assert library.parallel and library.member
        library.parallel(library.member, start, threads, 0)
    elif way == "pool":
        _POOL.run(shared, threads)
    else:
        _library().work(start, 0)


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
    return "omp" if _library().parallel else "pool"


def _shared(jobs: Sequence[Job]) -> array:
    """The jobs as the threads see them; the integers stand behind the table."""
    shared, at = array("q", [len(jobs)]), 1 + 3 * len(jobs)
    places = []
    for function, integers in jobs:
        shared.extend((0, function if isinstance(function, int) else entry(function, len(integers)).address, 0))
        places.append(at)
        at += len(integers)
    for _, integers in jobs:
        shared.extend(integers)
    start = shared.buffer_info()[0]  # only now: an array that grows moves
    for number, place in enumerate(places):
        shared[3 + 3 * number] = start + shared.itemsize * place
    return shared


class _Library(NamedTuple):
    work: Callable[[int, int], None]
    parallel: Callable[[int, int, int, int], None] | None  # GOMP_parallel(function, data, threads, flags)
    member: int | None  # the function for it
    engine: llvm.ExecutionEngine  # owns the code


@cache
def _library() -> _Library:
    """The machine code that all ways share, made in this process: it holds addresses."""
    parallel, thread_number = _openmp()
    text = _WORK + (_MEMBER.format(thread_number=thread_number) if parallel else "")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(engine.get_function_address("work"))
    member = engine.get_function_address("member") if parallel else None
    return _Library(work, parallel, member, engine)


def _openmp() -> tuple[Callable[[int, int, int, int], None] | None, int]:
    """`GOMP_parallel` as torch itself sees it and the address of `omp_get_thread_num`; (None, 0) without them."""
    if not torch.backends.openmp.is_available() or os.name != "posix":
        return None, 0
    # The global names come first, as for the linker: an OpenMP library that was preloaded serves torch as well.
    for name in (None, *(str(p) for p in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"))):
        try:
            library = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
            found = [
                ctypes.cast(getattr(library, f), ctypes.c_void_p).value for f in ("GOMP_parallel", "omp_get_thread_num")
            ]
        except (AttributeError, OSError):
            continue
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        return kind(found[0] or 0), found[1] or 0
    return None, 0


class _Pool:
    """Threads that wait for work, made when first needed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.todo: queue.SimpleQueue[tuple[array, int, queue.SimpleQueue[None]]] = queue.SimpleQueue()
        self.size = 0

    def run(self, shared: array, threads: int) -> None:
        with self.lock:
            for _ in range(self.size, threads - 1):
                threading.Thread(target=self._serve, args=(_library().work,), daemon=True).start()
                self.size += 1
        done: queue.SimpleQueue[None] = queue.SimpleQueue()
        handed = 0
        try:
            for handed in range(1, threads):
                self.todo.put((shared, handed, done))
            _library().work(shared.buffer_info()[0], 0)
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
