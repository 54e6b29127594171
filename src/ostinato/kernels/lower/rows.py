"""What reductions of a row mean: one number of many."""

from typing import Any

from torch import fx

from ..ir.graph import Value, width_of
from .truths import truth
from .vocabulary import Outside, Reader, features, reads, single


def _reduced(r: Reader, op: str, a: fx.Node, axes: Any) -> Value:
    return r.value(a) if axes and single(a, *axes) else r.graph.reduce(op, r.value(a))


@reads("sum")
def total(r: Reader, x: fx.Node, a: Any, axes: Any = None, keep: bool = False, **options: Any) -> Value:
    return _reduced(r, "sum", a, axes)


@reads("amax")
def largest(r: Reader, x: fx.Node, a: Any, axes: Any = None, keep: bool = False) -> Value:
    return _reduced(r, "amax", a, axes)


@reads("mean")
def mean(r: Reader, x: fx.Node, a: fx.Node, axes: Any = None, keep: bool = False, **options: Any) -> Value:
    value = _reduced(r, "sum", a, axes)
    return r.graph.each("mul", value, r.value(width_of(value) / features(a)))


@reads("var")
def variance(
    r: Reader, x: fx.Node, a: fx.Node, axes: Any = None, correction: float = 1.0, keepdim: bool = False
) -> Value:
    if axes and single(a, *axes) and features(a) > 1:
        raise Outside("var", "the variance of one number is taken")
    off = r.graph.each("sub", r.value(a), mean(r, x, a, axes))
    squares = r.graph.reduce("sum", r.graph.each("mul", off, off))
    return r.graph.each("mul", squares, r.value(1 / (features(a) - correction)))


@reads("any")
def some(r: Reader, x: fx.Node, a: Any, *axes: Any) -> Value:
    return r.graph.reduce("amax", truth(r, a))
