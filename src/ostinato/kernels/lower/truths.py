"""What ATen's operations on truths mean for rows, and changes of dtype. A row holds 1.0 for true and 0.0 for false."""

import math
from typing import Any

import torch
from torch import fx

from ..ir.graph import Value
from .vocabulary import Outside, Reader, name_of, reads


def _dtype(x: Any) -> torch.dtype:
    return x.meta["val"].dtype if isinstance(x, fx.Node) else torch.as_tensor(x).dtype


def truth(r: Reader, x: Any) -> Value:
    """A row of truths: whether a number is not 0."""
    return r.value(x) if _dtype(x) is torch.bool else r.graph.each("ne", r.value(x), r.value(0.0))


@reads("convert_element_type", "_to_copy")
def converted(r: Reader, x: fx.Node, source: fx.Node, *rest: Any, **options: Any) -> Value:
    before, after = _dtype(source), _dtype(x)
    if after is torch.bool:
        return truth(r, source)
    if before.is_floating_point and torch.promote_types(before, after) is not after:
        names = " becomes ".join(str(dtype).removeprefix("torch.") for dtype in (before, after))
        raise Outside(name_of(x), f"a row of {names}; a step must keep its dtype")
    return r.value(source)


@reads("logical_not", "bitwise_not")
def negation(r: Reader, x: fx.Node, a: Any) -> Value:
    _truths_alone(x, a)
    return r.graph.each("eq", r.value(a), r.value(0.0))


@reads("logical_and", "bitwise_and")
def both(r: Reader, x: fx.Node, a: Any, b: Any) -> Value:
    _truths_alone(x, a, b)
    return r.graph.each("mul", truth(r, a), truth(r, b))


@reads("logical_or", "bitwise_or")
def either(r: Reader, x: fx.Node, a: Any, b: Any) -> Value:
    _truths_alone(x, a, b)
    return r.graph.each("maximum", truth(r, a), truth(r, b))


def _truths_alone(x: fx.Node, *operands: Any) -> None:
    if name_of(x).startswith("bitwise") and any(_dtype(a) is not torch.bool for a in operands):
        raise Outside(name_of(x), f"{name_of(x)} of whole numbers works on their bits; truths are read")


@reads("isnan")
def is_nan(r: Reader, x: fx.Node, a: Any) -> Value:
    return r.graph.each("ne", r.value(a), r.value(a))


@reads("isinf")
def is_infinite(r: Reader, x: fx.Node, a: Any) -> Value:
    return r.graph.each("eq", r.graph.each("abs", r.value(a)), r.value(math.inf))
