"""Jobs: C functions that are compiled here, each over an array of integers, and ways to do some of them."""

import ctypes
import functools
from collections.abc import Callable, Sequence

from torch import Tensor

from ..simd.width import Lanes, lanes
from . import compile_cache

Job = tuple[int, tuple[int, ...]]  # the address of a C function over an array of 64-bit integers, and the integers
Run = Callable[[Sequence[Job]], object]


@functools.cache
def _compiled(body: str, of: Lanes, takes: str, package: str) -> compile_cache.Loaded:
    module, _, name = f"{package}.{body}".lstrip(".").rpartition(".")
    scope = compile_cache.Scope(compile_cache.NAMES, "fixed", (module, name, of, takes), module)
    return compile_cache.load_text(f"_entry = {name}\n", name, scope)


def c_function(body: str, kind: str, takes: str = "p", package: str = compile_cache.PACKAGE) -> int:
    """The address of a function over a job's array, or over other pointers "p" and integers "n".

    It is compiled for this machine's vectors of a kind: see `lanes`. The body is named, "module.function" of a package:
    it is imported only where nobody has compiled it before.
    """
    return _compiled(body, lanes(kind), takes, package).address


def in_turn(jobs: Sequence[Job]) -> None:
    """Runs jobs one after the other, here."""
    for function, integers in jobs:
        _C(function)((ctypes.c_int64 * len(integers))(*integers))


_C = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def dtype_of(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def spans(n: int, count: int, step: int) -> list[tuple[int, int]]:
    """0..n in at most `count` even parts that begin at multiples of `step`."""
    each = max(1, -(-n // (count * step))) * step
    return [(i, min(n, i + each)) for i in range(0, n, each)]
