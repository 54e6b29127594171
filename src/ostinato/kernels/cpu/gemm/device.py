"""What the jobs of products over all steps do."""

from ..runtime.job_words import compiled, unpack
from ..simd.bf16 import per_place
from ..simd.memory_ops import at, count_of, load, load1, load_n, store, store_n
from .host import ROWS, STEPS
from .panels import call_exact, pack_row


def linear(words):
    i0, i1, N, K, lda, ldc, biased, multiply, a, w, c, bias = unpack(words, 8, 4)
    for i in range(i0, i1, ROWS):
        rows = min(ROWS, i1 - i)
        if biased != 0:
            for r in range(i, i + rows):
                for j in range(0, N, count_of(a)):
                    store_n(c, r * ldc + j, load_n(bias, j, N - j), N - j)
        call_exact(multiply, rows, N, K, at(a, i * lda), lda, 1, w, at(c, i * ldc), ldc, biased)


def outer(words):
    i0, i1, M, N, T, lda, ldb, ldf, ldc, multiply, listed, a, b, first, c, total, which, scratch = unpack(words, 11, 7)
    vector = count_of(a)
    left = at(scratch, STEPS // per_place(a) * ((N + vector - 1) // vector * vector))
    for m in range(0, M, STEPS):
        steps = min(STEPS, M - m)
        _pack_steps(m, steps, N, T, b, ldb, first, ldf, listed, which, scratch)
        for i in range(i0, i1, ROWS):
            n = min(ROWS, i1 - i)
            for k in range(steps):
                row = _place(m + k, listed, which) * lda
                for j in range(0, n, vector):
                    store(left, k * ROWS + j, load_n(a, row + i + j, n - j))
            _add_rows(steps, n, left, at(total, i), m > 0)
            call_exact(multiply, n, N, steps, left, 1, ROWS, scratch, at(c, i * ldc), ldc, 1 if m > 0 else 0)


@compiled
def _pack_steps(m, steps, N, T, b, ldb, first, ldf, listed, which, p):
    """Rows m.. of b into panels; with T, row (n, t) is that of step t - 1, and row n of first at t = 0."""
    per = per_place(b)
    for k in range(0, steps, per):
        x = _step(_place(m + k, listed, which), T, b, ldb, first, ldf)
        y = _step(_place(m + min(k + 1, steps - 1), listed, which), T, b, ldb, first, ldf)
        pack_row(0, N, k // per, (steps + per - 1) // per, x, y, k + 1 < steps, p)


@compiled
def _place(k, listed, which):
    """Which row the k-th is that counts."""
    return int(load1(which, k)) if listed != 0 else k


@compiled
def _step(k, T, b, ldb, first, ldf):
    if T == 0:
        return at(b, k * ldb)
    return at(first, k // T * ldf) if k % T == 0 else at(b, (k - 1) * ldb)


@compiled
def _add_rows(steps, n, a, total, plus):
    for j in range(0, n, count_of(a)):
        s = load(a, j)
        for k in range(1, steps):
            s = s + load(a, k * ROWS + j)
        if plus:
            s = s + load_n(total, j, n - j)
        store_n(total, j, s, n - j)
