"""What pointwise operations mean: place by place."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ..ir.graph import Value
from ..ir.ops import POINTWISE
from .vocabulary import Outside, Reader, reads


def _pointwise(op: str) -> Callable[..., Value]:
    def meaning(r: Reader, x: fx.Node, *operands: Any) -> Value:
        return r.graph.each(op, *map(r.value, operands))

    return meaning


for _op in POINTWISE:
    reads(_op)(_pointwise(_op))


def _scaled(r: Reader, op: str, a: Any, b: Any, alpha: Any) -> Value:
    right = r.value(b)
    if alpha != 1:
        right = r.graph.each("mul", right, r.value(alpha))
    return r.graph.each(op, r.value(a), right)


@reads("add")
def add(r: Reader, x: fx.Node, a: Any, b: Any, alpha: Any = 1) -> Value:
    if x.meta["val"].dtype is torch.bool:  # truths: either of them
        return r.graph.each("maximum", r.value(a), r.value(b))
    return _scaled(r, "add", a, b, alpha)


@reads("sub")
def sub(r: Reader, x: fx.Node, a: Any, b: Any, alpha: Any = 1) -> Value:
    return _scaled(r, "sub", a, b, alpha)


@reads("rsub")
def rsub(r: Reader, x: fx.Node, a: Any, b: Any, alpha: Any = 1) -> Value:
    return _scaled(r, "sub", b, a, alpha)


@reads("div")
def div(r: Reader, x: fx.Node, a: Any, b: Any, rounding_mode: Any = None) -> Value:
    if rounding_mode is not None:
        raise Outside("div", f"a division rounds ({rounding_mode}); plain division is read")
    right = r.value(b)
    if len(right) == 1 and right[0].op == "const" and right[0].attr != 0:
        return r.graph.each("mul", r.value(a), r.value(1 / right[0].attr))
    return r.graph.each("div", r.value(a), right)


@reads("reciprocal")
def reciprocal(r: Reader, x: fx.Node, a: Any) -> Value:
    return r.graph.each("div", r.value(1.0), r.value(a))


@reads("rsqrt")
def rsqrt(r: Reader, x: fx.Node, a: Any) -> Value:
    return r.graph.each("div", r.value(1.0), r.graph.each("sqrt", r.value(a)))


@reads("pow")
def power(r: Reader, x: fx.Node, a: Any, exponent: Any) -> Value:
    """Small powers by products and a root; the others by the C library."""
    value = r.value(a)
    if not isinstance(exponent, (int, float)) or abs(exponent) > 4 or exponent % 0.5:
        return r.graph.each("pow", value, r.value(exponent))
    if exponent < 0:
        return r.graph.each("div", r.value(1.0), power(r, x, a, -exponent))
    if exponent == 0:
        return r.graph.each("where", r.value(1.0), r.value(1.0), value)
    factors = [value] * int(exponent) + [r.graph.each("sqrt", value)] * (exponent % 1 > 0)
    return functools.reduce(lambda found, factor: r.graph.each("mul", found, factor), factors)


@reads("clamp")
def clamp(r: Reader, x: fx.Node, a: Any, low: Any = None, high: Any = None) -> Value:
    found = r.value(a)
    for op, limit in (("maximum", low), ("minimum", high)):
        if limit is not None:
            found = r.graph.each(op, found, r.value(limit))
    return found


@reads("clamp_min")
def at_least(r: Reader, x: fx.Node, a: Any, low: Any) -> Value:
    return r.graph.each("maximum", r.value(a), r.value(low))


@reads("clamp_max")
def at_most(r: Reader, x: fx.Node, a: Any, high: Any) -> Value:
    return r.graph.each("minimum", r.value(a), r.value(high))


@reads("log1p")
def log1p(r: Reader, x: fx.Node, a: Any) -> Value:
    """The logarithm of the rounded 1 + x, and what the rounding took from x, to first order."""
    each, value, one = r.graph.each, r.value(a), r.value(1.0)
    rounded = each("add", value, one)
    near = each("sub", rounded, one)
    part = each("where", each("eq", near, value), one, each("div", value, near))
    whole = each("mul", each("log", rounded), part)
    return each("where", each("eq", near, r.value(0.0)), value, whole)
