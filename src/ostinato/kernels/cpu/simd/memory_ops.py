"""The names that kernels load, store and move vectors by.

    p = ptr(n)                  the address n, an integer          num(x)          a number of the kernel's dtype
    at(p, i)                    i numbers further                  spread(x)       x in every lane
    load(p, i)                  a vector                           hsum(v)         its lanes' sum
    store(p, i, v)                                                 hmax(v)         their maximum, NaN if one is
    load_n(p, i, n)             its first n lanes, then 0.0        load1(p, i)     one number
    store_n(p, i, v, n)         the first n lanes of v             store1(p, i, x)
    keep_n(v, n, x)             the first n lanes of v, then x
    gather(p, i, step, n)       n lanes, `step` apart, then 0.0
    scatter(p, i, step, v, n)   the first n lanes of v, `step` apart
    copy(rows, width, a, lda, c, ldc)                              v_exp(v), ...   see math.py

n may be larger than a vector: then all lanes count. + - * / work on vectors, and on a vector and a number.
"""

from typing import Any

import llvmlite.ir as ir
from numba import njit

from . import math
from .types import INT32, INT64, VectorBuilder, emits


@emits("pointer", "int")
def ptr(b: VectorBuilder, n: Any) -> Any:
    return b.ir.inttoptr(n, b.number.as_pointer())


@emits("pointer", "pointer", "int")
def at(b: VectorBuilder, p: Any, i: Any) -> Any:
    return b.ir.gep(p, [i])


@emits("vec", "pointer", "int")
def load(b: VectorBuilder, p: Any, i: Any) -> Any:
    return b.load(p, i)


@emits("void", "pointer", "int", "vec")
def store(b: VectorBuilder, p: Any, i: Any, v: Any) -> None:
    b.store(p, i, v)


@emits("vec", "pointer", "int", "int")
def load_n(b: VectorBuilder, p: Any, i: Any, n: Any) -> Any:
    return b.masked("load", b.type, p, i, n, b.const(0.0))


@emits("void", "pointer", "int", "vec", "int")
def store_n(b: VectorBuilder, p: Any, i: Any, v: Any, n: Any) -> None:
    b.masked("store", ir.VoidType(), p, i, n, v)


def _addresses(b: VectorBuilder, p: Any, i: Any, step: Any) -> Any:
    """Of one number a lane."""
    first = b.ir.ptrtoint(b.ir.gep(p, [i]), INT64)
    wide = ir.VectorType(INT64, b.count)
    places = ir.Constant(wide, [lane * (8 if b.wide else 4) for lane in range(b.count)])
    bytes_ = b.ir.add(b.spread64(first), b.ir.mul(places, b.spread64(step)))
    return b.ir.inttoptr(bytes_, ir.VectorType(b.number.as_pointer(), b.count))


def _lanes_apart(b: VectorBuilder, what: str, result: Any, *args: Any) -> Any:
    return b.declare(f"llvm.masked.{what}.v{b.count}f{64 if b.wide else 32}.v{b.count}p0", result, *args)


@emits("vec", "pointer", "int", "int", "int")
def gather(b: VectorBuilder, p: Any, i: Any, step: Any, n: Any) -> Any:
    align = INT32(8 if b.wide else 4)
    return _lanes_apart(b, "gather", b.type, _addresses(b, p, i, step), align, b.prefix(n), b.const(0.0))


@emits("void", "pointer", "int", "int", "vec", "int")
def scatter(b: VectorBuilder, p: Any, i: Any, step: Any, v: Any, n: Any) -> None:
    align = INT32(8 if b.wide else 4)
    _lanes_apart(b, "scatter", ir.VoidType(), v, _addresses(b, p, i, step), align, b.prefix(n))


@emits("vec", "vec", "int", "number")
def keep_n(b: VectorBuilder, v: Any, n: Any, x: Any) -> Any:
    return b.ir.select(b.prefix(n), v, b.spread(x))


@emits("number", "pointer", "int")
def load1(b: VectorBuilder, p: Any, i: Any) -> Any:
    return b.ir.load(b.ir.gep(p, [i]))


@emits("void", "pointer", "int", "number")
def store1(b: VectorBuilder, p: Any, i: Any, x: Any) -> None:
    b.ir.store(x, b.ir.gep(p, [i]))


@emits("vec", "number")
def spread(b: VectorBuilder, x: Any) -> Any:
    return b.spread(x)


@emits("number", "vec")
def hsum(b: VectorBuilder, v: Any) -> Any:
    return b.fold(v, b.ir.fadd)


@emits("number", "vec")
def hmax(b: VectorBuilder, v: Any) -> Any:
    return b.fold(v, lambda x, y: math.farther(b, ">", x, y))


@emits("int", "pointer")
def count_of(b: VectorBuilder, p: Any) -> Any:
    """The lanes of the vectors that p points to."""
    return INT64(b.count)


@njit(nogil=True)
def copy(rows, width, a, lda, c, ldc):
    for r in range(rows):
        for j in range(0, width, count_of(a)):
            store_n(c, r * ldc + j, load_n(a, r * lda + j, width - j), width - j)
