"""Jobs: C functions that are compiled here, each over an array of integers, and ways to do some of them."""

import ctypes
import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from numba import cfunc, njit
from numba.core import types
from numba.core.typing.templates import signature
from numba.extending import intrinsic
from torch import Tensor

from .lanes import Lanes, lanes
from .vectors import INT64, Pointer

Job = tuple[int, tuple[int, ...]]  # the address of a C function over an array of 64-bit integers, and the integers
Run = Callable[[Sequence[Job]], object]
compiled: Any = njit(nogil=True, error_model="numpy")


def _unpack(context: Any, words: Any, integers: Any, pointers: Any) -> Any:
    """unpack(words, integers, pointers): the array of a job as a tuple, so many integers and then so many pointers."""
    if not (isinstance(words, Pointer) and all(isinstance(n, types.IntegerLiteral) for n in (integers, pointers))):
        return None
    kinds = [types.intp] * integers.literal_value + [words] * pointers.literal_value

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        first = builder.bitcast(args[0], INT64.as_pointer())
        values = []
        for i, kind in enumerate(kinds):
            value = builder.load(builder.gep(first, [INT64(i)]))
            values.append(value if kind is types.intp else builder.inttoptr(value, args[0].type))
        return context.make_tuple(builder, sig.return_type, values)

    return signature(types.Tuple(kinds), words, integers, pointers), code


unpack: Any = intrinsic(prefer_literal=True)(_unpack)


@functools.cache
def _made(body: Any, of: Lanes, kinds: str) -> Any:
    """The C function of a body that takes these kinds."""
    # A name of its own: Numba keeps one index for a name, and two processes that write it at once may mix its entries.
    named = FunctionType(body.__code__, body.__globals__, f"{body.__name__}_{of.kind}x{of.count}")
    named.__qualname__ = named.__name__
    kind = types.void(*({"p": of.pointer, "n": types.intp}[k] for k in kinds))
    try:
        return cfunc(kind, cache=True, error_model="numpy")(named)
    except (RuntimeError, OSError):  # there is no folder to keep it in
        return cfunc(kind, error_model="numpy")(named)


def c_function(body: Any, kind: str, takes: str = "p") -> int:
    """The address of a function over a job's array, or over other pointers "p" and integers "n".

    It is compiled for this machine's vectors of a kind: see `lanes`.
    """
    return _made(body, lanes(kind), takes).address


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
