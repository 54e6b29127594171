"""What the factors of products are rounded to: numbers as they are, or float32 numbers rounded to bfloat16, in pairs.

A pair is the rounded numbers of two steps of a sum, the first in the lower half, in the place of one float32 number. So
matrices of pairs are packed, addressed and read as any others are, and hold half as many numbers. Sums are float32.

Pairs are bits: they may be moved as float32 numbers, and nothing else.
"""

from typing import Any

import llvmlite.ir as ir

from ..runtime.cpu_features import has_avx512_bf16
from .types import INT32, INT64, VectorBuilder, emits

PAIRS = 6144  # pairs on the stack, 24 KiB: what a product rounds at once
_PER_INSTRUCTION = 16  # sums of AVX512-BF16's product of pairs


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not name."""

    intrinsic_name = "bf16"

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def factors(b: VectorBuilder, x: Any) -> list[Any]:
    """What a vector from a packed matrix holds, each to be given to `add_product`."""
    if not b.vec.paired:
        return [x]
    if _native(b):
        return [b.ir.bitcast(x, ir.VectorType(_BFloat(), 2 * b.count))]
    bits = b.ir.bitcast(x, b.integers)
    halves = b.ir.shl(bits, b.whole(16)), b.ir.and_(bits, b.whole(-1 << 16))
    return [b.ir.bitcast(half, b.type) for half in halves]


def add_product(b: VectorBuilder, x: Any, y: Any, total: Any) -> Any:
    """total + x y, of two `factors`."""
    if b.vec.paired and _native(b):
        return b.declare("llvm.x86.avx512bf16.dpbf16ps.512", b.type, total, x, y)
    return b.fma(x, y, total)


def _native(b: VectorBuilder) -> bool:
    return has_avx512_bf16() and b.count == _PER_INSTRUCTION


def _pair(b: VectorBuilder, x: Any, y: Any) -> Any:
    """Numbers or vectors x and y, rounded, as pairs."""
    whole = INT32 if x.type == b.number else b.integers

    def same(n: int) -> Any:
        return ir.Constant(INT32, n) if whole is INT32 else b.whole(n)

    def rounded(z: Any) -> Any:
        """The bits of z with the nearest bfloat16 in the upper half: of two as near the even one."""
        bits = b.ir.bitcast(z, whole)
        even = b.ir.and_(b.ir.lshr(bits, same(16)), same(1))
        near = b.ir.add(b.ir.add(bits, same(0x7FFF)), even)
        # A NaN stays one, whatever its lower half was.
        return b.ir.select(b.ir.fcmp_unordered("uno", z, z), b.ir.or_(bits, same(1 << 22)), near)

    first, second = b.ir.lshr(rounded(x), same(16)), b.ir.and_(rounded(y), same(-1 << 16))
    return b.ir.bitcast(b.ir.or_(first, second), x.type)


@emits("int", "pointer")
def per_place(b: VectorBuilder, p: Any) -> Any:
    """How many steps of a sum one number of a packed matrix holds: 2 in pairs."""
    return INT64(2 if b.vec.paired else 1)


@emits("vec", "vec", "vec")
def operand(b: VectorBuilder, x: Any, y: Any) -> Any:
    """Two steps of a sum, x and then y, as pairs; only x where there are no pairs."""
    return _pair(b, x, y) if b.vec.paired else x


@emits("number", "pointer", "int", "int", "int")
def operand1(b: VectorBuilder, p: Any, i: Any, step: Any, n: Any) -> Any:
    """The same for the number at i and the one a step further, 0 there if n < 2."""
    x = b.ir.load(b.ir.gep(p, [i]))
    if not b.vec.paired:
        return x
    two = b.ir.icmp_signed(">", n, INT64(1))
    y = b.ir.load(b.ir.gep(p, [b.ir.select(two, b.ir.add(i, step), i)]))
    return _pair(b, x, b.ir.select(two, y, ir.Constant(b.number, 0.0)))


@emits("vec", "vec", "vec")
def adjacent(b: VectorBuilder, x: Any, y: Any) -> Any:
    """The numbers of x and then y, each two neighbours a pair."""
    even, odd = (ir.Constant(b.places, list(range(start, 2 * b.count, 2))) for start in (0, 1))
    return _pair(b, b.ir.shuffle_vector(x, y, even), b.ir.shuffle_vector(x, y, odd))


@emits("void", "pointer", "int", "pointer", "int")
def turn(b: VectorBuilder, p: Any, ld: Any, to: Any, width: Any) -> None:
    """As many columns as a vector has lanes, each a vector at a distance of ld, become rows at a distance of width."""
    rows = [b.load(p, b.ir.mul(ld, INT64(i))) for i in range(b.count)]
    half = b.count // 2
    while half:
        # Halves of halves: what lies off the diagonal changes places.
        here = [lane + b.count - half if lane & half else lane for lane in range(b.count)]
        there = [lane + b.count if lane & half else lane + half for lane in range(b.count)]
        for i in range(b.count):
            if not i & half:
                x, y = rows[i], rows[i + half]
                rows[i], rows[i + half] = (
                    b.ir.shuffle_vector(x, y, ir.Constant(b.places, lanes)) for lanes in (here, there)
                )
        half //= 2
    per = 2 if b.vec.paired else 1
    for k in range(0, b.count - b.count % per, per):
        b.store(to, b.ir.mul(width, INT64(k // per)), _pair(b, rows[k], rows[k + 1]) if per > 1 else rows[k])


@emits("pointer", "pointer")
def room_for_pairs(b: VectorBuilder, p: Any) -> Any:
    """Room on the stack for PAIRS and a vector."""
    with b.ir.goto_entry_block():
        return b.ir.bitcast(b.ir.alloca(b.type, PAIRS // b.count + 1), b.number.as_pointer())
