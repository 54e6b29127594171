"""Threads that take the same rows through all steps together: for batches too small to be cut.

Reading the weights is what a step of one row costs, so each thread multiplies with some of their columns alone. Then
they meet, and each takes over what the others found: that is `product`, which kernels call as they would any other.
What lies between the products each thread computes for itself, in scratch of its own, and all write the same numbers.

A matrix's place is taken by a description of this thread's part, `WORDS` integers:

    me, count, first column, columns, numbers of a packed column, stride of staging, control, multiply, give_way,
    packed columns, staging

Results are staged in two places by turns: who writes into the first one again has met the others since they read it.
"""

import ctypes
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import llvmlite.ir as ir
import torch
from torch import Tensor

from .jobs import c_function, spans, unpack
from .lanes import at, count_of, lanes, load, load_n, store_n
from .panels import call_product
from .tile import panel_of, shape
from .vectors import INT32, INT64, VectorBuilder, emits

WORDS = 11
LINE = 8  # integers of a cache line: each thread counts its meetings on one of its own
WIDE = 3 << 17  # bytes of matrices from which it pays to meet at each product
GROUP = 4  # panels that a thread multiplies with at once
SPINS = 256  # turns of waiting after which a thread lets others have its core
# LLVM's names for: I am waiting.
_PAUSES: dict[str, tuple[str, tuple[Any, ...]]] = {
    **dict.fromkeys(("x86_64", "amd64"), ("llvm.x86.sse2.pause", ())),
    **dict.fromkeys(("aarch64", "arm64"), ("llvm.aarch64.hint", (INT32(1),))),
}


@emits("int", "pointer", "int", "int")
def met(b: VectorBuilder, p: Any, control: Any, me: Any) -> Any:
    """How often this thread has met the others."""
    return b.ir.load(_counter(b, control, me))


@emits("void", "pointer", "int", "int", "int", "int")
def meet(b: VectorBuilder, p: Any, control: Any, me: Any, count: Any, give_way: Any) -> None:
    """Waits until all threads are here; what they wrote before, all see after."""
    build = b.ir
    mine = _counter(b, control, me)
    turn = build.add(build.load(mine), INT64(1))
    build.store_atomic(turn, mine, "release", 8)
    start = build.block
    each, wait, spin, let, done = (build.append_basic_block(n) for n in ("each", "wait", "spin", "let", "met"))
    build.branch(each)
    build.position_at_end(each)
    other = build.phi(INT64)
    other.add_incoming(INT64(0), start)
    build.cbranch(build.icmp_signed("<", other, count), wait, done)
    build.position_at_end(wait)
    spins = build.phi(INT64)
    spins.add_incoming(INT64(0), each)
    theirs = build.load_atomic(_counter(b, control, other), "acquire", 8)
    behind = build.icmp_signed("<", theirs, turn)
    after = build.add(other, INT64(1))
    other.add_incoming(after, wait)
    build.cbranch(behind, spin, each)
    build.position_at_end(spin)
    if pause := _PAUSES.get(platform.machine().lower()):
        b.declare(pause[0], ir.VoidType(), *pause[1])
    more = build.add(spins, INT64(1))
    spins.add_incoming(more, spin)
    patient = build.or_(build.icmp_signed("<", more, INT64(SPINS)), build.icmp_signed("==", give_way, INT64(0)))
    build.cbranch(patient, wait, let)
    build.position_at_end(let)
    kind = ir.FunctionType(ir.IntType(32), [])
    build.call(build.inttoptr(give_way, kind.as_pointer()), [])
    spins.add_incoming(INT64(0), let)
    build.branch(wait)
    build.position_at_end(done)


def _counter(b: VectorBuilder, control: Any, thread: Any) -> Any:
    place = b.ir.add(control, b.ir.mul(thread, INT64(8 * LINE)))
    return b.ir.inttoptr(place, INT64.as_pointer())


def _product(M, N, K, a, rs, ks, w, c, ldc, plus, exact):
    me, count, first, columns, depth, stride, control, multiply, give_way, packed, staging = unpack(w, 9, 2)
    vector = count_of(a)
    ld = (N + vector - 1) // vector * vector
    odd = met(a, control, me) & 1
    here = at(staging, odd * stride)
    # To and fro: what was read last is in the cache still.
    step = GROUP * panel_of(a)
    groups = (columns + step - 1) // step
    for g in range(groups):
        j = (groups - 1 - g if odd else g) * step
        call_product(multiply, M, min(step, columns - j), K, a, rs, at(packed, depth * j), at(here, first + j), ld)
    meet(a, control, me, count, give_way)
    for r in range(M):
        for j in range(0, N, vector):
            x = load(here, r * ld + j)
            store_n(c, r * ldc + j, x + load_n(c, r * ldc + j, N - j) if plus != 0 else x, N - j)


class Shares:
    """What threads abreast hold: each its columns of the matrices, and together where they meet and put results.

    Args:
        matrices: name -> (packed matrix, its columns).
        count: how many threads.
        rows: at most so many pass through a product at once.
        dtype: of the results.
        multiply: the address of the product that each thread computes its columns by.
    """

    def __init__(
        self, matrices: Mapping[str, tuple[Tensor, int]], count: int, rows: int, dtype: str, multiply: int
    ) -> None:
        of = lanes(dtype)

        def whole(columns: int) -> int:
            return -(-columns // of.count) * of.count

        stride = rows * max(whole(columns) for _, columns in matrices.values())
        self.staging = torch.zeros(2 * stride, dtype=getattr(torch, dtype))
        self.control = torch.zeros(count + 1, LINE, dtype=torch.int64)
        control = -(-self.control.data_ptr() // (8 * LINE)) * (8 * LINE)
        self.words = torch.zeros(count, len(matrices), WORDS, dtype=torch.int64)
        self.places: list[dict[str, int]] = [{} for _ in range(count)]  # thread -> name -> what stands for the matrix
        for number, (name, (packed, columns)) in enumerate(matrices.items()):
            depth = packed.numel() // whole(columns)
            parts = spans(columns, count, shape(of.vec).vectors * of.count)
            for me in range(count):
                first, last = parts[me] if me < len(parts) else (0, 0)
                head = (me, count, first, last - first, depth, stride, control, multiply, _give_way())
                ends = (packed.data_ptr() + depth * first * packed.element_size(), self.staging.data_ptr())
                self.words[me, number] = torch.tensor((*head, *ends))
                self.places[me][name] = self.words[me, number].data_ptr()


def pays(packed: Iterable[Tensor]) -> bool:
    """Whether threads gain by reading these matrices together."""
    return sum(w.numel() * w.element_size() for w in packed) > WIDE


def product(dtype: str) -> int:
    """The address of the product that threads abreast take."""
    return c_function(_product, dtype, "nnnpnnppnnn")


@cache
def _give_way() -> int:
    """The address of `sched_yield`; 0 where there is none."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0
