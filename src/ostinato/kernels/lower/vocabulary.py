"""What ATen's operations mean for rows: one function each, from operands to a value.

It gets the reader, whose `value` makes any operand a row and whose `graph` makes nodes, the traced node, and ATen's
arguments. Beside batch and features a row may have axes of size 1: one time step, say.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import fx

from ..table import Outside as Outside
from .ir import POINTWISE, Graph, Value, width_of


class Reader(Protocol):
    graph: Graph

    def value(self, x: Any) -> Value: ...


VOCABULARY: dict[str, Callable[..., Value]] = {}


def reads(*names: str) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Decorator: the meaning of the ATen operations of these names."""

    def add(meaning: Callable[..., Value]) -> Callable[..., Value]:
        VOCABULARY.update(dict.fromkeys(names, meaning))
        return meaning

    return add


def name_of(node: fx.Node) -> str:
    """The operation's name in ATen, without namespace, overload and the mark of what is done in place."""
    if node.op != "call_function":
        return node.op
    packet = getattr(node.target, "overloadpacket", None)
    name = packet.__name__ if packet is not None else getattr(node.target, "__name__", str(node.target))
    return name if name.startswith("_") else name.rstrip("_")


def features(node: fx.Node) -> int:
    """How many numbers a row of a traced value has."""
    return math.prod(node.meta["val"].shape[1:])


def axes_of(node: fx.Node) -> list[int]:
    """The axes that a reduction takes away; all where it names none."""
    dims = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    axes = node.args[1] if len(node.args) > 1 else None
    return [axis % dims for axis in axes] if axes else list(range(dims))  # type: ignore[union-attr]


def _pointwise(op: str) -> Callable[..., Value]:
    def meaning(r: Reader, x: fx.Node, *operands: Any) -> Value:
        return r.graph.each(op, *map(r.value, operands))

    return meaning


for _op in POINTWISE:
    reads(_op)(_pointwise(_op))


@reads(
    "broadcast_in_dim", "view", "reshape", "_unsafe_view", "expand", "clone", "alias", "detach", "squeeze", "unsqueeze",
    "permute", "transpose",
)  # fmt: skip
def same(r: Reader, x: fx.Node, source: Any, *rest: Any, **options: Any) -> Value:
    value, width = r.value(source), features(x)
    if width_of(value) == width:
        return value
    if width_of(value) != 1:
        raise Outside(name_of(x), f"{name_of(x)} makes rows of {width_of(value)} numbers rows of {width}")
    return (r.graph.spread(value[0], width),)


@reads("copy")
def copy(r: Reader, x: fx.Node, to: Any, source: Any, *rest: Any) -> Value:
    return same(r, x, source)


def _along_batch(x: fx.Node, axis: int) -> bool:
    return axis % max(1, len(x.meta["val"].shape)) == 0


def _single(source: fx.Node, *axes: int) -> bool:
    """Whether the axes have one place each, so that nothing happens along them."""
    shape = source.meta["val"].shape
    return math.prod(shape[axis] for axis in axes) == 1


def _start(source: fx.Node, start: Any) -> int:
    start = start or 0
    return max(0, start + features(source)) if start < 0 else start


@reads("slice")
def part(r: Reader, x: fx.Node, source: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    if _along_batch(x, axis) or _single(source, axis):
        return r.value(source)  # all of the batch: its size has been checked
    if step != 1:
        raise Outside("slice", f"a slice takes every {step}th feature; neighbours were expected")
    return r.graph.cut(r.value(source), _start(source, start), features(x))


@reads("select")
def select(r: Reader, x: fx.Node, source: Any, axis: int, index: int) -> Value:
    if _along_batch(source, axis):
        raise Outside("select", "one row of the batch is taken; a step must keep the batch as it is")
    return r.value(source) if _single(source, axis) else r.graph.cut(r.value(source), _start(source, index), 1)


@reads("embedding")
def embedding(r: Reader, x: fx.Node, table: fx.Node, ids: fx.Node, *rest: Any, **options: Any) -> Value:
    (row,) = r.value(ids)
    if row.op != "in" or row.attr[0] != "drive":
        raise Outside("embedding", "a table is read at a place that the step computes; token ids from outside are read")
    return (r.graph.node("lookup", (), features(x), (row.attr[1], table)),)


@reads("slice_scatter")
def slice_scatter(
    r: Reader, x: fx.Node, source: Any, put: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    base, new = r.value(source), r.value(put)
    if _along_batch(x, axis):
        return new
    if step != 1:
        raise Outside("slice", f"a slice takes every {step}th feature; neighbours were expected")
    first, width = _start(source, start), features(x)
    last = first + width_of(new)
    return r.graph.cut(base, 0, first) + new + r.graph.cut(base, last, width - last)


@reads("cat")
def cat(r: Reader, x: fx.Node, values: Any, axis: int = 0) -> Value:
    if _along_batch(x, axis):
        raise Outside("cat", "rows are put below each other; a step must keep the batch as it is")
    return tuple(node for v in values for node in r.value(v))


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
    if exponent not in (-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3):
        raise Outside("pow", f"a row is raised to {exponent}; whole powers up to 3 and square roots are read")
    if exponent < 0:
        return r.graph.each("div", r.value(1.0), power(r, x, a, -exponent))
    if exponent == 0:
        return (r.graph.const(1.0, features(x)),)
    value = found = r.value(a)
    if exponent == 0.5:
        return r.graph.each("sqrt", value)
    for _ in range(int(exponent) - 1):
        found = r.graph.each("mul", found, value)
    return found


@reads("clamp")
def clamp(r: Reader, x: fx.Node, a: Any, low: Any = None, high: Any = None) -> Value:
    found = r.value(a)
    for op, limit in (("maximum", low), ("minimum", high)):
        if limit is not None:
            found = r.graph.each(op, found, r.value(limit))
    return found


@reads("constant_pad_nd")
def pad(r: Reader, x: fx.Node, a: Any, widths: Any, number: float = 0.0) -> Value:
    if any(widths[2:]):
        raise Outside("constant_pad_nd", "rows are added to the batch; a step must keep it as it is")
    value = r.value(a)
    before, after = (tuple(r.graph.const(number, w) for w in (w,) if w > 0) for w in widths[:2])
    start, end = (-min(0, w) for w in widths[:2])
    return before + r.graph.cut(value, start, width_of(value) - start - end) + after


@reads("log1p")
def log1p(r: Reader, x: fx.Node, a: Any) -> Value:
    return r.graph.each("log", r.graph.each("add", r.value(a), r.value(1.0)))


def _reduced(r: Reader, op: str, a: fx.Node, axes: Any) -> Value:
    return r.value(a) if axes and _single(a, *axes) else r.graph.reduce(op, r.value(a))


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
    if axes and _single(a, *axes) and features(a) > 1:
        raise Outside("var", "the variance of one number is taken")
    off = r.graph.each("sub", r.value(a), mean(r, x, a, axes))
    squares = r.graph.reduce("sum", r.graph.each("mul", off, off))
    return r.graph.each("mul", squares, r.value(1 / (features(a) - correction)))
