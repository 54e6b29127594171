"""torch's own OpenMP team, and the few lines of machine code that its threads run: how they come by their jobs."""

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm
import torch

from .object_code import engine

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
# `abreast`: thread k runs job k, and the last job, which does all alone, is for a team that is too small.
_MEMBER = """
define void @member(ptr %shared) {{
  %number = call i32 inttoptr (i64 {thread_number} to ptr)()
  %first = sext i32 %number to i64
  call void @work(ptr %shared, i64 %first)
  ret void
}}
define void @abreast(ptr %shared) {{
  %number = call i32 inttoptr (i64 {thread_number} to ptr)()
  %threads = call i32 inttoptr (i64 {threads} to ptr)()
  %me = sext i32 %number to i64
  %size = sext i32 %threads to i64
  %count = load i64, ptr %shared
  %last = sub i64 %count, 1
  %enough = icmp sge i64 %size, %last
  %mine = select i1 %enough, i64 %me, i64 %last
  %end = select i1 %enough, i64 %last, i64 1
  %works = icmp slt i64 %me, %end
  br i1 %works, label %run, label %done
run:
  %place = mul i64 %mine, 3
  %job = getelementptr i64, ptr %shared, i64 %place
  %function.at = getelementptr i64, ptr %job, i64 2
  %integers.at = getelementptr i64, ptr %job, i64 3
  %function = load ptr, ptr %function.at
  %integers = load ptr, ptr %integers.at
  call void %function(ptr %integers)
  br label %done
done:
  ret void
}}
"""


_LOCK = threading.RLock()


class Library(NamedTuple):
    work: Callable[[int, int], None]
    parallel: Callable[[int, int, int, int], None] | None  # GOMP_parallel(function, data, threads, flags)
    member: int | None  # the function for it: jobs as they come
    abreast: int | None  # ... or one for each thread
    engine: llvm.ExecutionEngine  # owns the code


def library() -> Library:
    """The machine code that all ways share, made in this process: it holds addresses."""
    with _LOCK:  # of two that were made at once, the one that is forgotten would take its code along
        return _library()


@cache
def _library() -> Library:
    parallel, thread_number, threads = _openmp()
    text = _WORK + (_MEMBER.format(thread_number=thread_number, threads=threads) if parallel else "")
    made = engine(text)
    made.finalize_object()
    work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(made.get_function_address("work"))
    member, abreast = (made.get_function_address(name) if parallel else None for name in ("member", "abreast"))
    return Library(work, parallel, member, abreast, made)


def _after_fork() -> None:
    global _LOCK
    _LOCK = threading.RLock()  # a thread that the child does not have may hold the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_NAMES = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


def _openmp() -> tuple[Callable[[int, int, int, int], None] | None, int, int]:
    """`GOMP_parallel` as torch itself sees it, and the addresses of the other _NAMES; (None, 0, 0) without them."""
    if not torch.backends.openmp.is_available() or os.name != "posix":
        return None, 0, 0
    # The global names come first, as for the linker: an OpenMP library that was preloaded serves torch as well.
    for name in (None, *(str(p) for p in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"))):
        try:
            library = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
            found = [ctypes.cast(getattr(library, f), ctypes.c_void_p).value or 0 for f in _NAMES]
        except (AttributeError, OSError):
            continue
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        return kind(found[0]), found[1], found[2]
    return None, 0, 0
