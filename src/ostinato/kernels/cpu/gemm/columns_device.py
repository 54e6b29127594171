"""How threads that take the same rows multiply, and meet."""

import platform
from typing import Any

import llvmlite.ir as ir

from ..runtime.job_words import unpack
from ..simd.memory_ops import at, count_of, load, load_n, store_n
from ..simd.types import INT32, INT64, VectorBuilder, emits
from .column_parallel import LINE
from .panels import call_product
from .tile import panel_of

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
    """Waits until all threads are here, and counts how often it gave its core away; what they wrote, all see after."""
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
    given_way = build.gep(mine, [INT64(1)])
    build.store(build.add(build.load(given_way), INT64(1)), given_way)
    kind = ir.FunctionType(ir.IntType(32), [])
    build.call(build.inttoptr(give_way, kind.as_pointer()), [])
    spins.add_incoming(INT64(0), let)
    build.branch(wait)
    build.position_at_end(done)


def _counter(b: VectorBuilder, control: Any, thread: Any) -> Any:
    place = b.ir.add(control, b.ir.mul(thread, INT64(8 * LINE)))
    return b.ir.inttoptr(place, INT64.as_pointer())


def product(M, N, K, a, rs, ks, w, c, ldc, plus, exact):
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
