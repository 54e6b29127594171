"""How matrices are packed, and the product with packed ones."""

from typing import Any

from llvmlite import ir

from ..runtime.job_words import compiled, unpack
from ..simd.bf16 import PAIRS, adjacent, operand, operand1, per_place, room_for_pairs, turn
from ..simd.memory_ops import at, count_of, load, load_n, store, store1, store_n
from ..simd.types import INT64, VectorBuilder, emits
from .tile import panel_of, panels_of, room_of, rows_of, tile, tile_of_one_row

DEEP = 64  # rows of a block that is packed across
DEPTH = 1024  # how much of a sum a tile takes at once: so much of a panel stays in the cache while all rows pass it
SHALLOW = 512  # the same, where factors are rounded first


def _call(b: VectorBuilder, f: Any, *args: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
    b.ir.call(b.ir.inttoptr(f, kind.as_pointer()), args)


@emits("void", *["int"] * 4, "pointer", "int", "pointer", "pointer", "int")
def call_product(b: VectorBuilder, f: Any, M: Any, N: Any, K: Any, a: Any, lda: Any, *wc: Any) -> None:
    """call_product(f, M, N, K, a, lda, w, c, ldc): c[M, N] = a[M, K] @ w, for f = `panels.product`, w packed.

    c has room for whole vectors: up to the next multiple of the lanes, its rows are overwritten.
    """
    _call(b, f, M, N, K, a, lda, INT64(1), *wc, INT64(0), INT64(0))


@emits("void", *["int"] * 4, "pointer", "int", "int", "pointer", "pointer", "int", "int")
def call_exact(b: VectorBuilder, f: Any, *args: Any) -> None:
    """call_exact(f, M, N, K, a, rs, ks, w, c, ldc, plus): the same for a[m, k] at m rs + k ks, added to c if plus = 1.

    Nothing beside c[M, N] is written.
    """
    _call(b, f, *args, INT64(1))


def product(M, N, K, a, rs, ks, w, c, ldc, plus, exact):
    per, pairs = per_place(a), room_for_pairs(a)
    deep, most = DEPTH, M
    if per > 1:
        deep = min(K + K % per, SHALLOW)
        most = PAIRS * per // deep // rows_of(a) * rows_of(a)
    for k in range(0, K, deep):
        depth = min(deep, K - k)
        places = (depth + per - 1) // per
        add = 1 if k > 0 else plus
        i, left = 0, (M + most - 1) // most
        while left > 0:
            rows = (M - i + left - 1) // left
            part, rp, kp = at(a, i * rs + k * ks), rs, ks
            if per > 1:
                _round(rows, depth, part, rs, ks, pairs)
                part, rp, kp = (pairs, places, 1) if ks == 1 else (pairs, 1, rows)
            _panels(rows, N, K, k, depth, part, rp, kp, w, at(c, i * ldc), ldc, add, exact)
            i, left = i + rows, left - 1


@compiled
def _round(rows, depth, a, rs, ks, pairs):
    """a[rows, depth] as pairs [rows, depth / 2] where its rows lie in memory, else [depth / 2, rows]."""
    vector = count_of(a)
    if ks == 1:
        for r in range(rows):
            row, to = at(a, r * rs), at(pairs, r * ((depth + 1) // 2))
            for k in range(0, depth, 2 * vector):
                x, y = load_n(row, k, depth - k), load_n(row, k + vector, depth - k - vector)
                store_n(to, k // 2, adjacent(x, y), (depth - k + 1) // 2)
    elif rs == 1:
        for k in range(0, depth, 2):
            for r in range(0, rows, vector):
                n = rows - r
                x, y = load_n(a, k * ks + r, n), load_n(a, (k + 1) * ks + r, n if k + 1 < depth else 0)
                store_n(pairs, k // 2 * rows + r, operand(x, y), n)
    else:
        for k in range(0, depth, 2):
            for r in range(rows):
                store1(pairs, k // 2 * rows + r, operand1(a, k * ks + r * rs, ks, depth - k))


@compiled
def _panels(M, N, K, k, depth, a, rs, ks, w, c, ldc, plus, exact):
    """c[M, N] (+)= a[M, depth] @ w[k : k + depth], whose numbers may be pairs, panel by panel."""
    vector, most, panel, room, per = count_of(a), rows_of(a), panel_of(a), room_of(a), per_place(a)
    high, first, places = (K + per - 1) // per, k // per, (depth + per - 1) // per
    done = 0
    if M == 1:
        while done + panels_of(a) * panel <= N:
            part = at(w, high * done + first * panel)
            tile_of_one_row(a, ks, part, high * panel, places, at(c, done), plus)
            done += panels_of(a) * panel
    for j in range(done, N, panel):
        n = min(panel, N - j)
        vectors = (n + vector - 1) // vector
        ldw = vectors * vector
        ragged = exact != 0 and n < ldw
        i, left = 0, (M + most - 1) // most
        while left > 0:
            rows = (M - i + left - 1) // left  # evenly: 16 rows are 6 + 5 + 5
            put = at(c, i * ldc + j)
            to, ldt, plus_tile = (room, panel, 0) if ragged else (put, ldc, plus)
            tile(rows, vectors, at(a, i * rs), rs, ks, at(w, high * j + first * ldw), ldw, places, to, ldt, plus_tile)
            if ragged:
                _put(rows, n, room, panel, put, ldc, plus)
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


def pack(words):
    j0, j1, K, N, rs, cs, w, p = unpack(words, 6, 2)
    per, panel = per_place(w), panel_of(w)
    places = (K + per - 1) // per
    if cs == 1:
        for k in range(0, K, per):
            pack_row(j0, j1, k // per, places, at(w, k * rs), at(w, (k + 1) * rs), k + 1 < K, p)
        return
    for j in range(j0, j1, panel):
        _pack_turned(K, min(j + panel, N) - j, at(w, j * cs), rs, cs, at(p, places * j))


@compiled
def pack_row(start, end, k, places, x, y, both, p):
    """Columns start..end of row k of `places` into their panels: the row x; in pairs x and y, or x and zeros."""
    vector, panel = count_of(p), panel_of(p)
    for j in range(start, end, panel):
        n = min(panel, end - j)
        to = places * j + k * ((n + vector - 1) // vector * vector)
        for v in range(0, n, vector):
            store(p, to + v, operand(load_n(x, j + v, n - v), load_n(y, j + v, n - v if both else 0)))


@compiled
def _pack_turned(K, n, w, rs, cs, p):
    """A panel of a matrix whose columns lie in memory, by blocks of a few rows: these stay in the cache."""
    vector, per = count_of(p), per_place(p)
    width = (n + vector - 1) // vector * vector
    whole = n // vector * vector if rs == 1 and vector >= per else 0  # columns that are turned in registers
    for k0 in range(0, K, DEEP):
        k1 = min(k0 + DEEP, K)
        deep = k0 + (k1 - k0) // vector * vector
        for v in range(0, whole, vector):
            for k in range(k0, deep, vector):
                turn(at(w, k + v * cs), cs, at(p, k // per * width + v), width)
        for v in range(n):
            for k in range(deep if v < whole else k0, k1, per):
                store1(p, k // per * width + v, operand1(w, k * rs + v * cs, rs, K - k))
        for k in range(k0, k1, per):
            for v in range(n, width):
                store1(p, k // per * width + v, 0.0)
