"""What operations mean that are done place by place, of numbers."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ..ir.graph import Graph, Node
from ..ir.ops import POINTWISE
from ..table import Unsupported
from .op_registry import Place, elementwise


def _pointwise(op: str) -> Callable[..., Node]:
    def meaning(r: Place, x: fx.Node, *operands: Any) -> Node:
        return r.pointwise(op, *operands)

    return meaning


for _op in POINTWISE:
    elementwise(_op)(_pointwise(_op))


def divided(graph: Graph, a: Node, b: Node) -> Node:
    """The quotient. A product takes its place where it rounds alike: where the reciprocal is a power of two, and no
    denormal in any dtype."""
    if b.op == "const" and math.frexp(b.attr)[0] in (0.5, -0.5) and 2.0**-126 <= abs(b.attr) <= 2.0**126:
        return graph.pointwise("mul", a, graph.const(1 / b.attr))
    return graph.pointwise("div", a, b)


def _scaled(r: Place, op: str, a: Any, b: Any, alpha: Any) -> Node:
    right = r.value(b)
    if alpha != 1:
        right = r.graph.pointwise("mul", right, r.value(alpha))
    return r.graph.pointwise(op, r.value(a), right)


@elementwise("add")
def add(r: Place, x: fx.Node, a: Any, b: Any, alpha: Any = 1) -> Node:
    if x.meta["val"].dtype is torch.bool:  # truths: either of them
        return r.graph.pointwise("maximum", r.value(a), r.value(b))
    return _scaled(r, "add", a, b, alpha)


@elementwise("sub")
def sub(r: Place, x: fx.Node, a: Any, b: Any, alpha: Any = 1) -> Node:
    return _scaled(r, "sub", a, b, alpha)


@elementwise("rsub")
def rsub(r: Place, x: fx.Node, a: Any, b: Any, alpha: Any = 1) -> Node:
    return _scaled(r, "sub", b, a, alpha)


@elementwise("div")
def div(r: Place, x: fx.Node, a: Any, b: Any, rounding_mode: Any = None) -> Node:
    if rounding_mode is not None:
        raise Unsupported("div", f"a division rounds ({rounding_mode}); plain division is read")
    return divided(r.graph, r.value(a), r.value(b))


@elementwise("reciprocal")
def reciprocal(r: Place, x: fx.Node, a: Any) -> Node:
    return r.graph.pointwise("div", r.value(1.0), r.value(a))


@elementwise("rsqrt")
def rsqrt(r: Place, x: fx.Node, a: Any) -> Node:
    return r.graph.pointwise("div", r.value(1.0), r.graph.pointwise("sqrt", r.value(a)))


@elementwise("pow")
def power(r: Place, x: fx.Node, a: Any, exponent: Any) -> Node:
    """Small powers by products and a root, with the values of the C library at infinities and signed zeros."""
    value, each = r.value(a), r.graph.pointwise
    if not isinstance(exponent, (int, float)) or abs(exponent) > 4 or exponent % 0.5:
        return r.graph.pointwise("pow", value, r.value(exponent))
    if exponent < 0:
        return r.graph.pointwise("div", r.value(1.0), power(r, x, a, -exponent))
    if exponent == 0:
        return r.graph.pointwise("where", r.value(1.0), r.value(1.0), value)
    factors = [value] * int(exponent) + [each("sqrt", value)] * (exponent % 1 > 0)
    product = functools.reduce(lambda found, factor: each("mul", found, factor), factors)
    if exponent % 1 == 0 or exponent == 0.5:
        return product
    unsigned = each("add", product, r.value(0.0))  # of -0.0 too
    return each("where", each("eq", value, r.value(-math.inf)), r.value(math.inf), unsigned)


@elementwise("clamp")
def clamp(r: Place, x: fx.Node, a: Any, low: Any = None, high: Any = None) -> Node:
    found = r.value(a)
    for op, limit in (("maximum", low), ("minimum", high)):
        if limit is not None:
            found = r.graph.pointwise(op, found, r.value(limit))
    return found


@elementwise("clamp_min")
def at_least(r: Place, x: fx.Node, a: Any, low: Any) -> Node:
    return r.graph.pointwise("maximum", r.value(a), r.value(low))


@elementwise("clamp_max")
def at_most(r: Place, x: fx.Node, a: Any, high: Any) -> Node:
    return r.graph.pointwise("minimum", r.value(a), r.value(high))


@elementwise("log1p")
def log1p(r: Place, x: fx.Node, a: Any) -> Node:
    """The logarithm of the rounded 1 + x, and what the rounding took from x, to first order."""
    each, value, one = r.graph.pointwise, r.value(a), r.value(1.0)
    rounded = each("add", value, one)
    near = each("sub", rounded, one)
    part = each("where", each("eq", near, value), one, each("div", value, near))
    whole = each("mul", each("log", rounded), part)
    return each("where", each("eq", near, r.value(0.0)), value, whole)
