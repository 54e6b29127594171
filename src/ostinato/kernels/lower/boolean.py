"""What ATen's operations on truths mean for rows, and changes of dtype. A row holds 1.0 for true and 0.0 for false."""

import math
from typing import Any

import torch
from torch import fx

from ..ir.graph import Node
from ..table import Unsupported
from ..trace.nodes import name_of
from .op_registry import Place, elementwise


def _dtype(x: Any) -> torch.dtype:
    return x.meta["val"].dtype if isinstance(x, fx.Node) else torch.as_tensor(x).dtype


def truth(r: Place, x: Any) -> Node:
    """A row of truths: whether a number is not 0."""
    return r.value(x) if _dtype(x) is torch.bool else r.graph.pointwise("ne", r.value(x), r.value(0.0))


@elementwise("convert_element_type", "_to_copy")
def converted(r: Place, x: fx.Node, source: fx.Node, *rest: Any, **options: Any) -> Node:
    before, after = _dtype(source), _dtype(x)
    if after is torch.bool:
        return truth(r, source)
    if before.is_floating_point and torch.promote_types(before, after) is not after:
        names = " becomes ".join(str(dtype).removeprefix("torch.") for dtype in (before, after))
        raise Unsupported(name_of(x), f"a row of {names}; a step must keep its dtype")
    return r.value(source)


@elementwise("logical_not", "bitwise_not")
def negation(r: Place, x: fx.Node, a: Any) -> Node:
    _truths_alone(x, a)
    return r.graph.pointwise("eq", r.value(a), r.value(0.0))


@elementwise("logical_and", "bitwise_and")
def both(r: Place, x: fx.Node, a: Any, b: Any) -> Node:
    _truths_alone(x, a, b)
    return r.graph.pointwise("mul", truth(r, a), truth(r, b))


@elementwise("logical_or", "bitwise_or")
def either(r: Place, x: fx.Node, a: Any, b: Any) -> Node:
    _truths_alone(x, a, b)
    return r.graph.pointwise("maximum", truth(r, a), truth(r, b))


def _truths_alone(x: fx.Node, *operands: Any) -> None:
    if name_of(x).startswith("bitwise") and any(_dtype(a) is not torch.bool for a in operands):
        raise Unsupported(name_of(x), f"{name_of(x)} of whole numbers works on their bits; truths are read")


@elementwise("isnan")
def is_nan(r: Place, x: fx.Node, a: Any) -> Node:
    return r.graph.pointwise("ne", r.value(a), r.value(a))


@elementwise("isinf")
def is_infinite(r: Place, x: fx.Node, a: Any) -> Node:
    return r.graph.pointwise("eq", r.graph.pointwise("abs", r.value(a)), r.value(math.inf))
