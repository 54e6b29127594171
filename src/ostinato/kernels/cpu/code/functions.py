"""The pointwise functions on vectors: `v_exp`, `v_maximum` and so on, for every operation of a lowered step.

Within 4 units in the last place (float32) or 1e-15 (float64) of the exact value. NaN and infinities come out as from
PyTorch's functions; comparisons are chosen so that NaN takes the branch that keeps it. No function branches: all lanes
take all steps. The polynomials were fitted at 40 digits; the highest power comes first.
"""

import math
from collections.abc import Sequence
from typing import Any

from .vectors import INT32, VectorBuilder, emits

# (e^r - 1 - r) / r^2 for |r| <= log(2) / 2
EXP = {
    False: (0.0013926183587713494, 0.008363179052722578, 0.041666554617204574, 0.16666576989698775, 0.5),
    True: (
        2.510038549551032e-08, 2.7620088445409746e-07, 2.7557268459997064e-06, 2.4801521295954376e-05,
        0.00019841269863053618, 0.0013888888917213717, 0.008333333333330062, 0.04166666666662413, 0.16666666666666669,
        0.5,
    ),
}  # fmt: skip
# (log(1 + f) / s - 2) / s^2 of s^2, with s = f / (2 + f) and 1 + f in [sqrt(1/2), sqrt(2)]
LOG = {
    False: (0.2333096405177204, 0.2855080255327671, 0.4000012200081688, 0.6666666655430018),
    True: (
        0.1461703754879165, 0.1533167403016786, 0.18182890556695602, 0.2222221111514416, 0.2857142862609589,
        0.3999999999989924, 0.666666666666667,
    ),
}  # fmt: skip
# erf(x) / x - 1 of x^2 for |x| < ERF_NEAR, and -log(1 - erf(x)) of x from there to ERF_EDGE, where float32 has only 1
ERF_NEAR, ERF_EDGE = 0.94, 4.0
ERF_SMALL = (
    8.204169676160118e-05, -0.0008102915560980692, 0.005197487226627011, -0.026857959062737153, 0.11283669468623776,
    -0.3761263204712788, 0.12837916646478845,
)  # fmt: skip
ERF_LARGE = (
    -0.00019381085937443442, 0.003022477019083869, -0.02214475970370766, 0.10376230672048206, 0.6373737447755645,
    1.1275627702239426, 0.00022277498581878968,
)  # fmt: skip
LOG2_HIGH = {False: 0.693145751953125, True: 0.6931471803691238}  # so short that its product with an exponent is exact
LOG2_LOW = {False: 1.4286068203094172e-06, True: 1.9082149292705877e-10}
MANTISSA, BIAS = {False: 23, True: 52}, {False: 127, True: 1023}
TINY = {False: 2.0**-126, True: 2.0**-1022}  # below it numbers have fewer digits
_V = ("vec", "vec")


def _horner(b: VectorBuilder, x: Any, coefficients: Sequence[float]) -> Any:
    y = b.const(coefficients[0])
    for c in coefficients[1:]:
        y = b.fma(y, x, b.const(c))
    return y


def _choose(b: VectorBuilder, x: Any, sign: str, y: Any, yes: Any, no: Any) -> Any:
    """yes where x sign y, and no elsewhere and for NaN."""
    return b.ir.select(b.ir.fcmp_ordered(sign, x, y), yes, no)


def _clamp(b: VectorBuilder, x: Any, low: float, high: float) -> Any:
    x = _choose(b, x, "<", b.const(low), b.const(low), x)
    return _choose(b, x, ">", b.const(high), b.const(high), x)


def _magic(b: VectorBuilder) -> tuple[float, int]:
    """A number whose last place is 1, and its bits: adding it rounds to an integer, which then stands in the bits."""
    bits = MANTISSA[b.wide]
    return 1.5 * 2.0**bits, ((bits + BIAS[b.wide]) << bits) + (1 << (bits - 1))


def _exponent(b: VectorBuilder, n: Any, bias: int) -> Any:
    """2^(n + bias - BIAS), for the integers n."""
    bits = b.ir.shl(b.ir.add(n, b.whole(bias)), b.whole(MANTISSA[b.wide]))
    return b.ir.bitcast(bits, b.type)


def _reduced(b: VectorBuilder, x: Any) -> tuple[Any, Any]:
    """The integers n, and e^r - 1, of x = n log(2) + r."""
    number, bits = _magic(b)
    t = b.fma(x, b.const(1 / math.log(2)), b.const(number))
    n = b.ir.fsub(t, b.const(number))
    r = b.fma(n, b.const(-LOG2_HIGH[b.wide]), x)
    r = b.fma(n, b.const(-LOG2_LOW[b.wide]), r)
    p = b.fma(_horner(b, r, EXP[b.wide]), b.ir.fmul(r, r), r)
    return b.ir.sub(b.ir.bitcast(t, b.integers), b.whole(bits)), p


def _exp(b: VectorBuilder, x: Any) -> Any:
    low, high = (-746.0, 710.0) if b.wide else (-104.5, 89.0)
    n, p = _reduced(b, _clamp(b, x, low, high))
    # In two steps: 2^n itself may be too large or too small where the result is not.
    half = b.ir.ashr(n, b.whole(1))
    p = b.ir.fmul(b.ir.fadd(p, b.const(1.0)), _exponent(b, half, BIAS[b.wide]))
    return b.ir.fmul(p, _exponent(b, b.ir.sub(n, half), BIAS[b.wide]))


@emits(*_V)
def v_exp(b: VectorBuilder, x: Any) -> Any:
    return _exp(b, x)


@emits(*_V)
def v_sigmoid(b: VectorBuilder, x: Any) -> Any:
    """1 / (1 + e^-x), and not by tanh, which loses the tail."""
    # Halved, e^-x is in range as long as the result is no denormal; one step further its exponent is that of infinity.
    low, high = (-707.0, 1025 * math.log(2)) if b.wide else (-86.0, 129 * math.log(2))
    n, p = _reduced(b, _clamp(b, b.ir.fneg(x), low, high))
    e = b.ir.fmul(b.ir.fadd(p, b.const(1.0)), _exponent(b, n, BIAS[b.wide] - 1))
    return b.ir.fdiv(b.const(0.5), b.ir.fadd(b.const(0.5), e))


@emits(*_V)
def v_tanh(b: VectorBuilder, x: Any) -> Any:
    """E / (E + 2) with E = e^2|x| - 1, which is exact to its last places near 0 too."""
    size = b.llvm("fabs", x)
    # From 20 on the result is 1.
    n, p = _reduced(b, _choose(b, size, ">", b.const(20.0), b.const(40.0), b.ir.fadd(size, size)))
    power = _exponent(b, n, BIAS[b.wide])
    e = b.fma(power, p, b.ir.fsub(power, b.const(1.0)))
    return b.llvm("copysign", b.ir.fdiv(e, b.ir.fadd(e, b.const(2.0))), x)


@emits(*_V)
def v_log(b: VectorBuilder, x: Any) -> Any:
    wide, bits = b.wide, MANTISSA[b.wide]
    small = b.ir.fcmp_ordered("<", x, b.const(TINY[wide]))
    word = b.ir.bitcast(b.ir.select(small, b.ir.fmul(x, b.const(2.0 ** (bits + 2))), x), b.integers)
    root = b.ir.bitcast(b.const(math.sqrt(0.5)), b.integers)
    n = b.ir.ashr(b.ir.sub(word, root), b.whole(bits))
    f = b.ir.fsub(b.ir.bitcast(b.ir.sub(word, b.ir.shl(n, b.whole(bits))), b.type), b.const(1.0))
    n = b.ir.sub(n, b.ir.select(small, b.whole(bits + 2), b.whole(0)))
    number, magic = _magic(b)
    k = b.ir.fsub(b.ir.bitcast(b.ir.add(n, b.whole(magic)), b.type), b.const(number))
    s = b.ir.fdiv(f, b.ir.fadd(f, b.const(2.0)))
    z = b.ir.fmul(s, s)
    half = b.ir.fmul(b.const(0.5), b.ir.fmul(f, f))
    rest = b.ir.fmul(s, b.fma(_horner(b, z, LOG[wide]), z, half))
    y = b.fma(k, b.const(LOG2_LOW[wide]), rest)
    y = b.fma(k, b.const(LOG2_HIGH[wide]), b.ir.fadd(b.ir.fsub(y, half), f))
    y = _choose(b, x, "<", b.const(math.inf), y, x)
    y = _choose(b, x, "==", b.const(0.0), b.const(-math.inf), y)
    return _choose(b, x, "<", b.const(0.0), b.const(math.nan), y)


@emits(*_V)
def v_erf(b: VectorBuilder, x: Any) -> Any:
    if b.wide:
        return _each(b, "erf", x)
    size = _choose(b, b.llvm("fabs", x), ">", b.const(ERF_EDGE), b.const(ERF_EDGE), b.llvm("fabs", x))
    near = b.fma(_horner(b, b.ir.fmul(x, x), ERF_SMALL), x, x)
    far = b.ir.fsub(b.const(1.0), _exp(b, b.ir.fneg(_horner(b, size, ERF_LARGE))))
    return _choose(b, size, "<", b.const(ERF_NEAR), near, b.llvm("copysign", far, x))


def _each(b: VectorBuilder, name: str, x: Any) -> Any:
    """A function of the C library, lane by lane: a vector erf to 1e-15 takes four ranges, and only GELU asks for it."""
    for lane in range(b.count):
        one = b.declare(name, b.number, b.ir.extract_element(x, INT32(lane)))
        x = b.ir.insert_element(x, one, INT32(lane))
    return x


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
def v_relu(b: VectorBuilder, x: Any) -> Any:
    return _choose(b, x, "<", b.const(0.0), b.const(0.0), x)


@emits(*_V)
def v_sign(b: VectorBuilder, x: Any) -> Any:
    """NaN gives 0, as with torch.sign."""
    negative = _choose(b, x, "<", b.const(0.0), b.const(-1.0), b.const(0.0))
    return _choose(b, x, ">", b.const(0.0), b.const(1.0), negative)


def farther(b: VectorBuilder, sign: str, x: Any, y: Any) -> Any:
    """The larger (">") or smaller ("<") of two, and NaN if one is NaN."""
    # A comparison with NaN gives y: wrong only where it is x that is NaN.
    return b.ir.select(b.ir.fcmp_unordered("uno", x, x), x, _choose(b, x, sign, y, x, y))


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
