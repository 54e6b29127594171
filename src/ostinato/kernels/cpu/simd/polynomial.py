"""What the functions on vectors are made of: choices, polynomials, exponents."""

from collections.abc import Sequence
from typing import Any

from .types import VectorBuilder

MANTISSA, BIAS = {False: 23, True: 52}, {False: 127, True: 1023}
TINY = {False: 2.0**-126, True: 2.0**-1022}  # below it numbers have fewer digits


def horner(b: VectorBuilder, x: Any, coefficients: Sequence[float]) -> Any:
    y = b.const(coefficients[0])
    for c in coefficients[1:]:
        y = b.fma(y, x, b.const(c))
    return y


def choose(b: VectorBuilder, x: Any, sign: str, y: Any, yes: Any, no: Any) -> Any:
    """yes where x sign y, and no elsewhere and for NaN."""
    return b.ir.select(b.ir.fcmp_ordered(sign, x, y), yes, no)


def clamp(b: VectorBuilder, x: Any, low: float, high: float) -> Any:
    x = choose(b, x, "<", b.const(low), b.const(low), x)
    return choose(b, x, ">", b.const(high), b.const(high), x)


def magic(b: VectorBuilder) -> tuple[float, int]:
    """A number whose last place is 1, and its bits: adding it rounds to an integer, which then stands in the bits."""
    bits = MANTISSA[b.wide]
    return 1.5 * 2.0**bits, ((bits + BIAS[b.wide]) << bits) + (1 << (bits - 1))


def exponent(b: VectorBuilder, n: Any, bias: int) -> Any:
    """2^(n + bias - BIAS), for the integers n."""
    bits = b.ir.shl(b.ir.add(n, b.whole(bias)), b.whole(MANTISSA[b.wide]))
    return b.ir.bitcast(bits, b.type)
