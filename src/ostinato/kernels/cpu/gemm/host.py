"""The products over all steps at once: `linear`, what a drive is made of, and `outer`, what gradients of weights are.

Work is cut into jobs, which `run(jobs)` does in any order, side by side or not; the result is the same to the last bit,
however many there are. Where a kind is asked for, "bfloat16" rounds the factors of products, and only these: float32
numbers go in and come out. No operation of torch's computes here: after each one its threads spin for a while, beside
whoever works then.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..library.padding import zero_past_lengths
from ..runtime.jobs import Job, Run, c_function, dtype_of, in_turn, spans
from ..runtime.memory import empty, scratch
from ..simd.width import lanes
from .packing import SMALL, pack, packed_size, product

ROWS = 96  # that `linear` takes through all panels, and columns of a that `outer` does
STEPS = 192  # rows of a and b that `outer` packs at once


def linear_jobs(
    a: Tensor, packed: Tensor, bias: Tensor | None, out: Tensor, count: int = 1, kind: str | None = None,
    ranges: Sequence[tuple[int, int]] | None = None,
) -> list[Job]:  # fmt: skip
    """Jobs that make out [M, N] = a [M, K] @ w + bias [N]; packed: `pack(w)`. Rows of a and out are contiguous.

    With ranges of rows only these are made, a job each.
    """
    (M, K), N, kind = a.shape, out.shape[1], kind or dtype_of(a)
    assert K > 0 and out.shape[0] == M and packed.shape == (packed_size(K, N, kind),) and _fit(a, packed, out, bias)
    assert bias is None or (bias.shape == (N,) and bias.is_contiguous())
    function, multiply, row = c_function("gemm.device.linear", kind), product(kind), lanes(kind).tile.rows
    sizes = N, K, a.stride(0), out.stride(0), int(bias is not None), multiply
    places = a.data_ptr(), packed.data_ptr(), out.data_ptr(), 0 if bias is None else bias.data_ptr()
    return [(function, (i, j, *sizes, *places)) for i, j in (spans(M, count, row) if ranges is None else ranges)]


def linear(
    a: Tensor, w: Tensor, bias: Tensor | None = None, *, lengths: Tensor | None = None, out: Tensor | None = None,
    run: Run = in_turn, count: int = 1, kind: str | None = None,
) -> Tensor:  # fmt: skip
    """a [..., K] @ w [K, N] + bias [N], [..., N]: float32 or float64, K >= 1, contiguous rows; w has any strides.

    `run` does the work in at most `count` jobs; `out` [..., N], if given, is written and returned. With the lengths
    [B] of a [B, T, K] nothing is computed past them, and zeros stand there.
    """
    packed = pack(w, run, count if w.numel() > SMALL else 1, kind)
    made, jobs = linear_laid(a, packed, w.shape[1], bias, lengths=lengths, out=out, count=count, kind=kind)
    run(jobs)
    return made


def linear_laid(
    a: Tensor, packed: Tensor, N: int, bias: Tensor | None = None, *, lengths: Tensor | None = None,
    out: Tensor | None = None, count: int = 1, kind: str | None = None,
) -> tuple[Tensor, list[Job]]:  # fmt: skip
    """`linear` with a packed matrix [K, N], as what it gives and the jobs that make it."""
    rows = _rows(a)
    made = empty((*a.shape[:-1], N), a.dtype) if out is None else out
    ranges = None
    if lengths is not None:
        starts = range(0, len(rows), a.shape[1])
        ranges = [(start, start + int(n)) for start, n in zip(starts, lengths.tolist(), strict=True) if n > 0]
        zero_past_lengths([made], lengths.to(made.dtype))
    return made, linear_jobs(rows, packed, bias, _rows(made), count, kind, ranges)


def scratch_size(N: int, kind: str) -> int:
    """How many numbers of scratch a job of `outer` takes."""
    return packed_size(STEPS, N, kind) + STEPS * ROWS


def outer_jobs(
    a: Tensor, b: Tensor, first: Tensor | None, out: Tensor, total: Tensor, scratch: Tensor, kind: str | None = None,
    which: Tensor | None = None,
) -> list[Job]:  # fmt: skip
    """Jobs that make out [D, N] = a^T b and total [D], the sum of a's rows; at most one for each row of scratch.

    a is [B, T, D] and b [B, T, N], with contiguous rows at even distances. With first [B, N], b counts one step late:
    the row of step t is multiplied with that of t - 1, or first's at t = 0. scratch is [count, scratch_size]. Of the
    rows (n, t), counted n T + t, only those count that `which` lists, in the dtype of a.
    """
    D, N, kind = a.shape[-1], b.shape[-1], kind or dtype_of(a)
    M, room = a.numel() // D, scratch.stride(0) * scratch.itemsize
    assert out.shape == (D, N) and total.shape == (D,) and total.is_contiguous() and scratch.is_contiguous()
    assert a.shape[:-1] == b.shape[:-1] and scratch.shape[1] >= scratch_size(N, kind)
    assert _fit(a, b, first, out, total, scratch) and (first is None or first.shape == (b.shape[0], N))
    T, start = (0, b) if first is None else (b.shape[1], first)
    function, multiply, row = c_function("gemm.device.outer", kind), product(kind), lanes(kind).tile.rows
    listed = int(which is not None)
    M = M if which is None else len(which)
    sizes = M, N, T, _apart(a), _apart(b), start.stride(0), out.stride(0), multiply, listed
    places = [x.data_ptr() for x in (a, b, start, out, total, a if which is None else which)]
    parts = spans(D, scratch.shape[0], row)
    return [(function, (i, j, *sizes, *places, scratch.data_ptr() + n * room)) for n, (i, j) in enumerate(parts)]


def outer(
    a: Tensor, b: Tensor, first: Tensor | None = None, *, lengths: Tensor | None = None, run: Run = in_turn,
    count: int = 1, kind: str | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(a^T b [D, N], the sum of a's rows [D]) for a [B, T, D] and b [B, T, N], float32 or float64.

    With first [B, N], b counts one step late: see `outer_jobs`. Steps past the lengths [B] do not count. `run` does the
    work in at most `count` jobs.
    """
    which = None if lengths is None else within(lengths, a)
    room = scratch((count, scratch_size(b.shape[-1], kind or dtype_of(a))), a.dtype)
    found, jobs = outer_laid(a, b, first, which, room, kind)
    run(jobs)
    return found


def outer_laid(
    a: Tensor, b: Tensor, first: Tensor | None, which: Tensor | None, room: Tensor, kind: str | None = None
) -> tuple[tuple[Tensor, Tensor], list[Job]]:
    """`outer`, as what it gives and the jobs that make it, with their scratch and `within(lengths, a)`."""
    D, N = a.shape[-1], b.shape[-1]
    out, total = empty((D, N), a.dtype), empty((D,), a.dtype)
    if not a.numel() or (which is not None and not len(which)):
        return (out.zero_(), total.zero_()), []
    return (out, total), outer_jobs(a, b, first, out, total, room, kind, which)


def within(lengths: Tensor, a: Tensor) -> Tensor | None:
    """The rows of a [B, T, D] within the lengths [B], as numbers of its dtype; None where it cannot count so far."""
    if a.dtype == torch.float32 and a.shape[0] * a.shape[1] > 1 << 24:
        return None
    return (torch.arange(a.shape[1]) < lengths[:, None]).flatten().nonzero().flatten().to(a.dtype)


def _rows(x: Tensor) -> Tensor:
    """x [..., N] as [M, N], never a copy."""
    return x.view(-1, x.shape[-1])


def _apart(x: Tensor) -> int:
    """How far a row of x [..., N] lies from the next one. The stride of an axis of size 1 says nothing."""
    return next((x.stride(i) for i in range(x.ndim - 2, -1, -1) if x.shape[i] > 1), x.shape[-1])


def _fit(*tensors: Tensor | None) -> bool:
    """Whether they are of one dtype, with contiguous rows."""
    given = [x for x in tensors if x is not None]
    dtype = given[0].dtype
    return all(x.dtype is dtype and (x.stride(-1) == 1 or x.shape[-1] == 1) for x in given)
