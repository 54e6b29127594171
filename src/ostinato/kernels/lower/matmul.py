"""What products mean: of rows with weights, of rows with each other, and what becomes of weights' gradients."""

from typing import Any

import torch
from torch import fx

from ..table import Unsupported
from .alignment import each
from .op_registry import reads
from .shaping import reduced, without
from .step_graph import Product, Total
from .values import Axis, Part, Value, order_of, row


def batch_of(value: Value) -> int | None:
    """The dimension that holds the batch."""
    return next((i for i, dim in enumerate(value.parts[0].dims) if any(axis.batch for axis in dim)), None)


@reads("mm")
def product(r: Any, x: fx.Node, a: fx.Node, b: fx.Node) -> Value | None:
    left, right = r.value(a), r.value(b)
    batches = batch_of(left), batch_of(right)
    if batches == (1, 0):
        first, second = row(r.graph, left, [1, 0]), row(r.graph, right, [0, 1])
        rows = right.sizes[0] // r.rows
        r.summed.add(x)
        r.reading.products.append(Product(x, r.graph.cat(first), r.graph.cat(second), rows))
        return None
    if batches == (0, None):
        return _times(r, left, b)
    if batches == (None, 1):
        with x.graph.inserting_before(x):
            turned = x.graph.call_function(torch.ops.aten.t.default, (a,))
        turned.meta["val"] = a.meta["val"].t()
        found = _times(r, _transposed(right), turned)
        return _transposed(found)
    raise Unsupported("mm", "two rows are multiplied as matrices; rows of one batch do not see each other")


def _transposed(value: Value) -> Value:
    parts = tuple(part._replace(dims=part.dims[::-1]) for part in value.parts)
    return Value(parts, 1 - value.along)


def _times(r: Any, value: Value, matrix: fx.Node) -> Value:
    """Rows [(batch, ...), K] times a matrix of weights [K, N]."""
    if matrix not in r.reading.matrices:
        r.reading.matrices.append(matrix)
    number, columns = r.reading.matrices.index(matrix), matrix.meta["val"].shape[1]
    rows = value.sizes[0] // r.rows
    factor = r.graph.cat(row(r.graph, value))
    shape = tuple(size for size in (rows, columns) if size > 1)
    node = r.graph.node("mm", (factor,), shape, number)
    dims, inner = list[Axis](), rows
    for axis in value.parts[0].dims[0]:
        inner //= 1 if axis.batch else axis.size
        dims.append(axis if axis.batch else Axis(axis.size, (0, inner)))
    last = (Axis(columns, (len(shape) - 1, 1)),) if columns > 1 else ()
    return Value((Part(node, (0,) * len(shape), (tuple(dims), last)),))


@reads("bmm")
def products(r: Any, x: fx.Node, a: fx.Node, b: fx.Node) -> Value | None:
    """A product for each place of the first axis, the batch or heads."""
    left, right = r.value(a), r.value(b)
    n, k, m = left.sizes[1], left.sizes[2], right.sizes[2]
    factors = [_with_dim(left, 3), _with_dim(right, 1)]
    terms = each(r.graph, (left.sizes[0], n, k, m), factors, lambda u, v: r.graph.pointwise("mul", u, v))
    if batch_of(terms) == 2:
        return total(r, x, terms, [2])
    return without(reduced(r.graph, "sum", terms, [2] if k > 1 else []), [2])


def _with_dim(value: Value, at: int) -> Value:
    parts = tuple(part._replace(dims=(*part.dims[:at], (), *part.dims[at:])) for part in value.parts)
    return Value(parts, value.along + (value.along >= at))


def total(r: Any, x: fx.Node, value: Value, dims: list[int]) -> None:
    """A sum over the batch, and axes beside it: the gradient of weights."""
    inner = Value(tuple(_without_batch(part) for part in value.parts), value.along)
    left = reduced(r.graph, "sum", inner, [d for d in dims if inner.sizes[d] > 1])
    r.summed.add(x)
    order = order_of(left.sizes)
    axes = [i for i, size in enumerate(x.meta["val"].shape) if size > 1]
    mine = dict(zip((i for i, size in enumerate(left.sizes) if size > 1), axes, strict=True))
    r.reading.totals.append(Total(x, row(r.graph, left, order), tuple(mine[i] for i in order)))


def _without_batch(part: Part) -> Part:
    return part._replace(dims=tuple(tuple(axis for axis in dim if not axis.batch) for dim in part.dims))
