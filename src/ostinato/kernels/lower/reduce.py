"""What reductions mean: one number of many."""

import math
from typing import Any

from torch import fx

from ..table import Unsupported
from ..trace.nodes import axes_of
from .alignment import each
from .boolean import truth
from .elementwise import divided
from .op_registry import Reader, reads
from .shaping import reduced, without
from .values import Value


def _of(r: Reader, op: str, x: fx.Node, value: Value, keep: bool) -> Value:
    axes = axes_of(x)
    return _kept(reduced(r.graph, op, value, [i for i in axes if value.sizes[i] > 1]), axes, keep)


def _kept(value: Value, axes: list[int], keep: bool) -> Value:
    return value if keep else without(value, axes)


def _divided(r: Reader, value: Value, count: float) -> Value:
    return each(r.graph, value.sizes, [value], lambda node: divided(r.graph, node, r.graph.const(count)))


@reads("sum")
def total(r: Reader, x: fx.Node, a: Any, axes: Any = None, keep: bool = False, **options: Any) -> Value:
    return _of(r, "sum", x, r.value(a), keep)


@reads("amax")
def largest(r: Reader, x: fx.Node, a: Any, axes: Any = None, keep: bool = False) -> Value:
    return _of(r, "amax", x, r.value(a), keep)


def _average(r: Reader, x: fx.Node, value: Value) -> Value:
    axes = axes_of(x)
    whole = reduced(r.graph, "sum", value, [i for i in axes if value.sizes[i] > 1])
    return _divided(r, whole, math.prod(value.sizes[i] for i in axes))


@reads("mean")
def mean(r: Reader, x: fx.Node, a: Any, axes: Any = None, keep: bool = False, **options: Any) -> Value:
    return _kept(_average(r, x, r.value(a)), axes_of(x), keep)


@reads("var")
def variance(r: Reader, x: fx.Node, a: Any, axes: Any = None, correction: float = 1.0, keepdim: bool = False) -> Value:
    value, gone = r.value(a), axes_of(x)
    count = math.prod(value.sizes[i] for i in gone)
    if count == 1:
        raise Unsupported("var", "the variance of one number is taken")
    off = each(r.graph, value.sizes, [value, _average(r, x, value)], lambda v, m: r.graph.pointwise("sub", v, m))
    squares = each(r.graph, value.sizes, [off], lambda v: r.graph.pointwise("mul", v, v))
    squares = reduced(r.graph, "sum", squares, [i for i in gone if value.sizes[i] > 1])
    return _kept(_divided(r, squares, count - correction), gone, keepdim)


@reads("any")
def some(r: Reader, x: fx.Node, a: Any, axes: Any = None, keep: bool = False) -> Value:
    source = r.value(a)
    return _of(r, "amax", x, r.each(a, lambda place: truth(place, a), [a]), keep) if source.sizes else source
