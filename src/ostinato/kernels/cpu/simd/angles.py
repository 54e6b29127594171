"""Sine, cosine and the angle of a tangent, on vectors."""

import math
from typing import Any

from .coefficients import ATAN, COS, HALF_PI, HALF_PI_REST, SIN
from .polynomial import choose, clamp, horner, magic
from .types import Vec, VectorBuilder


def turned(b: VectorBuilder, x: Any, quarters: int) -> Any:
    """sin(x + quarters pi / 2).

    Right to the last places for |x| up to 1e9, or 1e6 where the machine rounds a product before it adds. From there
    on the angle loses places, 2e-2 of it before 1e15; further on the result is some number between -1 and 1.
    """
    w = VectorBuilder(b.ir, Vec("float64", b.count))
    r = x if b.wide else b.ir.fpext(x, w.type)
    number, bits = magic(w)
    t = w.fma(r, w.const(2 / math.pi), w.const(number))
    n = w.ir.fsub(t, w.const(number))
    for part in HALF_PI:
        r = w.fma(n, w.const(-part), r)
    r = clamp(w, r, -math.pi / 4, math.pi / 4)
    z = w.ir.fmul(r, r)
    sine = w.fma(w.ir.fmul(horner(w, z, SIN[b.wide]), z), r, r)
    half = w.ir.fmul(w.const(0.5), z)
    near = w.ir.fsub(w.const(1.0), half)
    rest = w.ir.fsub(w.ir.fsub(w.const(1.0), near), half)
    cosine = w.ir.fadd(near, w.fma(horner(w, z, COS[b.wide]), w.ir.fmul(z, z), rest))
    turns = w.ir.add(w.ir.sub(w.ir.bitcast(t, w.integers), w.whole(bits)), w.whole(quarters))
    odd = w.ir.icmp_signed("!=", w.ir.and_(turns, w.whole(1)), w.whole(0))
    y = w.ir.select(odd, cosine, sine)
    y = w.ir.select(w.ir.icmp_signed("!=", w.ir.and_(turns, w.whole(2)), w.whole(0)), w.ir.fneg(y), y)
    return y if b.wide else b.ir.fptrunc(y, b.type)


def arc(b: VectorBuilder, x: Any) -> Any:
    """atan x. Turned back by pi / 4 or pi / 2, the angle is below pi / 8."""
    size, one = b.llvm("fabs", x), b.const(1.0)
    above, fourth = b.const(1 + math.sqrt(2)), b.const(math.sqrt(2) - 1)

    def ranged(far: Any, middle: Any, near: Any) -> Any:
        return choose(b, size, ">", above, far, choose(b, size, ">", fourth, middle, near))

    t = b.ir.fdiv(ranged(b.const(-1.0), b.ir.fsub(size, one), size), ranged(size, b.ir.fadd(size, one), one))
    turn = ranged(b.const(math.pi / 2), b.const(math.pi / 4), b.const(0.0))
    lost = ranged(*(b.const(quarter * HALF_PI_REST[b.wide]) for quarter in (1.0, 0.5, 0.0)))  # of the turn, by rounding
    z = b.ir.fmul(t, t)
    rest = b.ir.fadd(b.ir.fmul(b.ir.fmul(horner(b, z, ATAN[b.wide]), z), t), lost)
    return b.llvm("copysign", b.ir.fadd(turn, b.ir.fadd(rest, t)), x)
