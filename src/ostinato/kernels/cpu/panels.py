"""Packed matrices and the product with them, as C functions whose addresses kernels are given.

A matrix on the right of a product is packed first: in panels as wide as the tile, row after row, the last panel filled
up with zeros to whole vectors. A kernel that named the product would have it linked and optimised again; by address it
costs nothing.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import cfunc, njit
from numba.core import types
from numba.core.typing.templates import signature
from numba.extending import intrinsic
from torch import Tensor

from .lanes import Lanes, at, count_of, lanes, load, load1, load_n, store, store1, store_n
from .memory import empty
from .tile import panel_of, room_of, rows_of, shape, tile
from .vectors import INT64, Pointer, VectorBuilder, emits

DEPTH = 1024  # how much of a sum a tile takes at once: so much of a panel stays in the cache while all rows pass it

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


def _call(b: VectorBuilder, f: Any, *args: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
    b.ir.call(b.ir.inttoptr(f, kind.as_pointer()), args)


@emits("void", *["int"] * 4, "pointer", "int", "pointer", "pointer", "int")
def call_product(b: VectorBuilder, f: Any, M: Any, N: Any, K: Any, a: Any, lda: Any, *wc: Any) -> None:
    """call_product(f, M, N, K, a, lda, w, c, ldc): c[M, N] = a[M, K] @ w, for f = `product`, w packed.

    c has room for whole vectors: up to the next multiple of the lanes, its rows are overwritten.
    """
    _call(b, f, M, N, K, a, lda, INT64(1), *wc, INT64(0), INT64(0))


@emits("void", *["int"] * 4, "pointer", "int", "int", "pointer", "pointer", "int", "int")
def call_exact(b: VectorBuilder, f: Any, *args: Any) -> None:
    """call_exact(f, M, N, K, a, rs, ks, w, c, ldc, plus): the same for a[m, k] at m rs + k ks, added to c if plus = 1.

    Nothing beside c[M, N] is written.
    """
    _call(b, f, *args, INT64(1))


def _product(M, N, K, a, rs, ks, w, c, ldc, plus, exact):
    vector, most, panel, room = count_of(a), rows_of(a), panel_of(a), room_of(a)
    for k in range(0, K, DEPTH):
        depth = min(DEPTH, K - k)
        add = 1 if k > 0 else plus
        for j in range(0, N, panel):
            n = min(panel, N - j)
            vectors = (n + vector - 1) // vector
            ldw = vectors * vector
            ragged = exact != 0 and n < ldw
            i, left = 0, (M + most - 1) // most
            while left > 0:
                rows = (M - i + left - 1) // left  # evenly: 16 rows are 6 + 5 + 5
                put = at(c, i * ldc + j)
                to, ldt, plus_tile = (room, panel, 0) if ragged else (put, ldc, add)
                part = at(w, K * j + k * ldw)
                tile(rows, vectors, at(a, i * rs + k * ks), rs, ks, part, ldw, depth, to, ldt, plus_tile)
                if ragged:
                    _put(rows, n, room, panel, put, ldc, add)
                i, left = i + rows, left - 1


@compiled
def _put(rows, n, a, lda, c, ldc, plus):
    """c[rows, n] (+)= a, and nothing beside it."""
    for r in range(rows):
        for v in range(0, n, count_of(a)):
            x = load(a, r * lda + v)
            if plus != 0:
                x = x + load_n(c, r * ldc + v, n - v)
            store_n(c, r * ldc + v, x, n - v)


def _pack(words):
    j0, j1, K, N, rs, cs, w, p = unpack(words, 6, 2)
    vector, panel = count_of(w), panel_of(w)
    for j in range(j0, j1, panel):
        n = min(panel, N - j)
        width = (n + vector - 1) // vector * vector
        if cs == 1:
            for k in range(K):
                for v in range(0, n, vector):
                    store(p, K * j + k * width + v, load_n(w, k * rs + j + v, n - v))
        else:
            _pack_turned(K, n, width, at(w, j * cs), rs, cs, at(p, K * j))


@compiled
def _pack_turned(K, n, width, w, rs, cs, p):
    """A panel of a matrix whose columns lie in memory, by blocks of a few rows: these stay in the cache."""
    for k0 in range(0, K, 16):
        k1 = min(k0 + 16, K)
        for v in range(n):
            for k in range(k0, k1):
                store1(p, k * width + v, load1(w, k * rs + v * cs))
        for k in range(k0, k1):
            for v in range(n, width):
                store1(p, k * width + v, 0.0)


@functools.cache
def _made(body: Any, of: Lanes, kinds: str) -> Any:
    """The C function of a body that takes these kinds."""
    # A name of its own: Numba keeps one index for a name, and two processes that write it at once may mix its entries.
    named = FunctionType(body.__code__, body.__globals__, f"{body.__name__}_{of.dtype}x{of.count}")
    named.__qualname__ = named.__name__
    kind = types.void(*({"p": of.pointer, "n": types.intp}[k] for k in kinds))
    try:
        return cfunc(kind, cache=True, error_model="numpy")(named)
    except (RuntimeError, OSError):  # there is no folder to keep it in
        return cfunc(kind, error_model="numpy")(named)


def c_function(body: Any, dtype: str) -> int:
    """The address of a function over a job's array, compiled for this machine's vectors."""
    return _made(body, lanes(dtype), "p").address


def product(dtype: str) -> int:
    """The address that `call_product` and `call_exact` take."""
    return _made(_product, lanes(dtype), "nnnpnnppnnn").address


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


def packed_size(K: int, N: int, dtype: str) -> int:
    """How many numbers a packed matrix [K, N] takes."""
    count = lanes(dtype).count
    return K * (-(-N // count) * count)


def pack_jobs(w: Tensor, packed: Tensor, count: int = 1) -> list[Job]:
    """Packs w [K, N], of any strides, into packed [packed_size]."""
    (K, N), of = w.shape, lanes(dtype_of(w))
    assert packed.shape == (packed_size(K, N, of.dtype),) and packed.dtype == w.dtype
    function = c_function(_pack, of.dtype)
    parts = spans(N, count, shape(of.vec).vectors * of.count)
    return [(function, (i, j, K, N, *w.stride(), w.data_ptr(), packed.data_ptr())) for i, j in parts]


def pack(w: Tensor, run: Run = in_turn, count: int = 1) -> Tensor:
    """w [K, N], float32 or float64 of any strides, as panels [packed_size]; in at most `count` jobs."""
    K, N = w.shape
    packed = empty((packed_size(K, N, dtype_of(w)),), w.dtype)
    run(pack_jobs(w, packed, count))
    return packed
