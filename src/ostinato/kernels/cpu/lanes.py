"""The vectors of this machine, and the names that emitted kernels are written with.

    p = ptr(n)                  the address n, an integer          num(x)          a number of the kernel's dtype
    at(p, i)                    i numbers further                  spread(x)       x in every lane
    load(p, i)                  a vector                           hsum(v)         its lanes' sum
    store(p, i, v)                                                 hmax(v)         their maximum, NaN if one is
    load_n(p, i, n)             its first n lanes, then 0.0        load1(p, i)     one number
    store_n(p, i, v, n)         the first n lanes of v             store1(p, i, x)
    keep_n(v, n, x)             the first n lanes of v, then x
    copy(rows, width, a, lda, c, ldc)                              v_exp(v), ...   see functions.py

n may be larger than a vector: then all lanes count. + - * / work on vectors, and on a vector and a number.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import llvmlite.ir as ir
from numba import njit

from . import functions
from .vectors import FLOATS, INT64, NUMBERS, OPERATIONS, Pointer, Vec, VectorBuilder, emits

LARGEST = 16  # lanes


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
    return b.fold(v, lambda x, y: functions.farther(b, ">", x, y))


@emits("int", "pointer")
def count_of(b: VectorBuilder, p: Any) -> Any:
    """The lanes of the vectors that p points to."""
    return INT64(b.count)


@njit(nogil=True)
def copy(rows, width, a, lda, c, ldc):
    for r in range(rows):
        for j in range(0, width, count_of(a)):
            store_n(c, r * ldc + j, load_n(a, r * lda + j, width - j), width - j)


@dataclass(frozen=True, eq=False)
class Lanes:
    """The vectors of one kind."""

    kind: str
    dtype: str
    count: int  # numbers in a vector
    vec: Vec
    pointer: Pointer
    scope: Mapping[str, Any]  # what emitted source may name


def lanes(kind: str) -> Lanes:
    """The vectors that this machine's registers hold of "float32" or "float64" numbers.

    "bfloat16" means float32 numbers whose products are of factors rounded to bfloat16: see operands.py.
    The environment variable OSTINATO_LANES gives another number of lanes: 1 works on any machine. Raises ValueError if
    it is no power of two up to 16, or if there are no vectors of the kind.
    """
    if kind not in (*FLOATS, "bfloat16"):
        raise ValueError(f"no vectors of {kind} are written; use float32 or float64, or bfloat16 for products")
    return _lanes(kind, _asked() or _register_bytes() // (8 if kind == "float64" else 4))


def _asked() -> int | None:
    text = os.environ.get("OSTINATO_LANES", "")
    if not text:
        return None
    if not text.isdecimal() or int(text) not in (1, 2, 4, 8, LARGEST):
        raise ValueError(f"OSTINATO_LANES is {text!r}; set it to 1, 2, 4, 8 or 16, or leave it out")
    return int(text)


@functools.cache
def _register_bytes() -> int:
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


@functools.cache
def _lanes(kind: str, count: int) -> Lanes:
    paired = kind == "bfloat16"
    dtype = "float32" if paired else kind
    vec = Vec(dtype, count, paired)
    named = [o for o in OPERATIONS.values() if o.body.__module__ in (__name__, functions.__name__)]
    scope = {o.name: o.bound(vec) for o in named} | {"copy": copy, "num": NUMBERS[dtype]}
    return Lanes(kind, dtype, count, vec, Pointer(vec), scope)
