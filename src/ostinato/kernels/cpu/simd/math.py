"""The pointwise functions on vectors: `v_exp`, `v_maximum` and so on, for every operation of a lowered step.

Within 4 units in the last place (float32) or 1e-15 (float64) of the exact value. NaN and infinities come out as from
PyTorch's functions; comparisons are chosen so that NaN takes the branch that keeps it. No function branches: all lanes
take all steps.
"""

import math
from typing import Any

from .angles import arc, turned
from .coefficients import ERF_EDGE, ERF_LARGE, ERF_NEAR, ERF_SMALL, EXP, LOG, LOG2_HIGH, LOG2_LOW
from .polynomial import BIAS, MANTISSA, TINY, choose, clamp, exponent, horner, magic
from .types import INT32, VectorBuilder, emits

_V = ("vec", "vec")


def _reduced(b: VectorBuilder, x: Any) -> tuple[Any, Any]:
    """The integers n, and e^r - 1, of x = n log(2) + r."""
    number, bits = magic(b)
    t = b.fma(x, b.const(1 / math.log(2)), b.const(number))
    n = b.ir.fsub(t, b.const(number))
    r = b.fma(n, b.const(-LOG2_HIGH[b.wide]), x)
    r = b.fma(n, b.const(-LOG2_LOW[b.wide]), r)
    p = b.fma(horner(b, r, EXP[b.wide]), b.ir.fmul(r, r), r)
    return b.ir.sub(b.ir.bitcast(t, b.integers), b.whole(bits)), p


def _exp(b: VectorBuilder, x: Any) -> Any:
    low, high = (-746.0, 710.0) if b.wide else (-104.5, 89.0)
    n, p = _reduced(b, clamp(b, x, low, high))
    # In two steps: 2^n itself may be too large or too small where the result is not.
    half = b.ir.ashr(n, b.whole(1))
    p = b.ir.fmul(b.ir.fadd(p, b.const(1.0)), exponent(b, half, BIAS[b.wide]))
    return b.ir.fmul(p, exponent(b, b.ir.sub(n, half), BIAS[b.wide]))


@emits(*_V)
def v_exp(b: VectorBuilder, x: Any) -> Any:
    return _exp(b, x)


@emits(*_V)
def v_sigmoid(b: VectorBuilder, x: Any) -> Any:
    """1 / (1 + e^-x), and not by tanh, which loses the tail."""
    # Halved, e^-x is in range as long as the result is no denormal; one step further its exponent is that of infinity.
    low, high = (-707.0, 1025 * math.log(2)) if b.wide else (-86.0, 129 * math.log(2))
    n, p = _reduced(b, clamp(b, b.ir.fneg(x), low, high))
    e = b.ir.fmul(b.ir.fadd(p, b.const(1.0)), exponent(b, n, BIAS[b.wide] - 1))
    return b.ir.fdiv(b.const(0.5), b.ir.fadd(b.const(0.5), e))


@emits(*_V)
def v_tanh(b: VectorBuilder, x: Any) -> Any:
    """E / (E + 2) with E = e^2|x| - 1, which is exact to its last places near 0 too."""
    size = b.llvm("fabs", x)
    # From 20 on the result is 1.
    n, p = _reduced(b, choose(b, size, ">", b.const(20.0), b.const(40.0), b.ir.fadd(size, size)))
    power = exponent(b, n, BIAS[b.wide])
    e = b.fma(power, p, b.ir.fsub(power, b.const(1.0)))
    return b.llvm("copysign", b.ir.fdiv(e, b.ir.fadd(e, b.const(2.0))), x)


@emits(*_V)
def v_expm1(b: VectorBuilder, x: Any) -> Any:
    # Below the first limit the result is -1. Halved, it is in range as long as e^x is.
    n, p = _reduced(b, clamp(b, x, -40.0, 710.0 if b.wide else 89.0))
    half = exponent(b, n, BIAS[b.wide] - 1)
    e = b.fma(half, p, b.ir.fsub(half, b.const(0.5)))
    return choose(b, x, "==", b.const(0.0), x, b.ir.fadd(e, e))


@emits(*_V)
def v_log(b: VectorBuilder, x: Any) -> Any:
    wide, bits = b.wide, MANTISSA[b.wide]
    small = b.ir.fcmp_ordered("<", x, b.const(TINY[wide]))
    word = b.ir.bitcast(b.ir.select(small, b.ir.fmul(x, b.const(2.0 ** (bits + 2))), x), b.integers)
    root = b.ir.bitcast(b.const(math.sqrt(0.5)), b.integers)
    n = b.ir.ashr(b.ir.sub(word, root), b.whole(bits))
    f = b.ir.fsub(b.ir.bitcast(b.ir.sub(word, b.ir.shl(n, b.whole(bits))), b.type), b.const(1.0))
    n = b.ir.sub(n, b.ir.select(small, b.whole(bits + 2), b.whole(0)))
    number, whole = magic(b)
    k = b.ir.fsub(b.ir.bitcast(b.ir.add(n, b.whole(whole)), b.type), b.const(number))
    s = b.ir.fdiv(f, b.ir.fadd(f, b.const(2.0)))
    z = b.ir.fmul(s, s)
    half = b.ir.fmul(b.const(0.5), b.ir.fmul(f, f))
    rest = b.ir.fmul(s, b.fma(horner(b, z, LOG[wide]), z, half))
    y = b.fma(k, b.const(LOG2_LOW[wide]), rest)
    y = b.fma(k, b.const(LOG2_HIGH[wide]), b.ir.fadd(b.ir.fsub(y, half), f))
    y = choose(b, x, "<", b.const(math.inf), y, x)
    y = choose(b, x, "==", b.const(0.0), b.const(-math.inf), y)
    return choose(b, x, "<", b.const(0.0), b.const(math.nan), y)


@emits(*_V)
def v_sin(b: VectorBuilder, x: Any) -> Any:
    return choose(b, x, "==", b.const(0.0), x, turned(b, x, 0))


@emits(*_V)
def v_cos(b: VectorBuilder, x: Any) -> Any:
    return turned(b, x, 1)


@emits(*_V)
def v_atan(b: VectorBuilder, x: Any) -> Any:
    return arc(b, x)


@emits("vec", *_V)
def v_pow(b: VectorBuilder, x: Any, y: Any) -> Any:
    return _each(b, "pow" if b.wide else "powf", x, y)


@emits("vec", *_V)
def v_fmod(b: VectorBuilder, x: Any, y: Any) -> Any:
    return _each(b, "fmod" if b.wide else "fmodf", x, y)


@emits("vec", *_V)
def v_copysign(b: VectorBuilder, x: Any, y: Any) -> Any:
    return b.llvm("copysign", x, y)


def _of_library(name: str) -> None:
    def body(b: VectorBuilder, x: Any) -> Any:
        return _each(b, name if b.wide else f"{name}f", x)

    body.__name__ = f"v_{name}"
    emits(*_V)(body)


for _name in ("log2", "log10", "erfc"):
    _of_library(_name)


@emits(*_V)
def v_erf(b: VectorBuilder, x: Any) -> Any:
    if b.wide:
        return _each(b, "erf", x)
    size = choose(b, b.llvm("fabs", x), ">", b.const(ERF_EDGE), b.const(ERF_EDGE), b.llvm("fabs", x))
    near = b.fma(horner(b, b.ir.fmul(x, x), ERF_SMALL), x, x)
    far = b.ir.fsub(b.const(1.0), _exp(b, b.ir.fneg(horner(b, size, ERF_LARGE))))
    return choose(b, size, "<", b.const(ERF_NEAR), near, b.llvm("copysign", far, x))


def _each(b: VectorBuilder, name: str, *xs: Any) -> Any:
    """A function of the C library, lane by lane: a vector erf to 1e-15 takes four ranges, and only GELU asks for it."""
    found = xs[0]
    for lane in range(b.count):
        one = b.declare(name, b.number, *(b.ir.extract_element(x, INT32(lane)) for x in xs))
        found = b.ir.insert_element(found, one, INT32(lane))
    return found


@emits(*_V)
def v_neg(b: VectorBuilder, x: Any) -> Any:
    return b.ir.fneg(x)


@emits(*_V)
def v_abs(b: VectorBuilder, x: Any) -> Any:
    return b.llvm("fabs", x)


@emits(*_V)
def v_sqrt(b: VectorBuilder, x: Any) -> Any:
    return b.llvm("sqrt", x)


@emits(*_V)
def v_floor(b: VectorBuilder, x: Any) -> Any:
    return b.llvm("floor", x)


@emits(*_V)
def v_round(b: VectorBuilder, x: Any) -> Any:
    """To the nearest whole number, halves to the even one."""
    return b.llvm("rint", x)


@emits(*_V)
def v_relu(b: VectorBuilder, x: Any) -> Any:
    return choose(b, x, "<", b.const(0.0), b.const(0.0), x)


@emits(*_V)
def v_sign(b: VectorBuilder, x: Any) -> Any:
    """NaN gives 0, as with torch.sign."""
    negative = choose(b, x, "<", b.const(0.0), b.const(-1.0), b.const(0.0))
    return choose(b, x, ">", b.const(0.0), b.const(1.0), negative)


def farther(b: VectorBuilder, sign: str, x: Any, y: Any) -> Any:
    """The larger (">") or smaller ("<") of two, and NaN if one is NaN."""
    # A comparison with NaN gives y: wrong only where it is x that is NaN.
    return b.ir.select(b.ir.fcmp_unordered("uno", x, x), x, choose(b, x, sign, y, x, y))


@emits("vec", *_V)
def v_maximum(b: VectorBuilder, x: Any, y: Any) -> Any:
    return farther(b, ">", x, y)


@emits("vec", *_V)
def v_minimum(b: VectorBuilder, x: Any, y: Any) -> Any:
    return farther(b, "<", x, y)


@emits("vec", "vec", *_V)
def v_where(b: VectorBuilder, c: Any, x: Any, y: Any) -> Any:
    return b.ir.select(b.ir.fcmp_unordered("!=", c, b.const(0.0)), x, y)


def _comparison(name: str, sign: str) -> None:
    def body(b: VectorBuilder, x: Any, y: Any) -> Any:
        # NaN differs from everything, itself included.
        compare = b.ir.fcmp_unordered if sign == "!=" else b.ir.fcmp_ordered
        return b.ir.select(compare(sign, x, y), b.const(1.0), b.const(0.0))

    body.__name__ = f"v_{name}"
    emits("vec", *_V)(body)


for _name, _sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="), ("eq", "=="), ("ne", "!=")):
    _comparison(_name, _sign)
