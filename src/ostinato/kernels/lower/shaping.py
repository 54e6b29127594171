"""Values in another shape, in another order of axes, given to more places, or summed along some."""

import math
from collections.abc import Iterable, Sequence

from ..ir.graph import Graph
from .alignment import each
from .values import APART, Axis, Dim, Part, Unsupported, Value, joined, padded, solid, spread
from .views import fold, view


def reduced(graph: Graph, op: str, value: Value, dims: Sequence[int]) -> Value:
    """The "sum" or "amax" along dimensions, which keep one place."""
    parts = [_reduced_part(graph, op, part, dims) for part in value.parts]
    if value.along not in dims or len(parts) == 1:
        return Value(tuple(parts), value.along)
    combine = "add" if op == "sum" else "maximum"
    total = Value((parts[0],))
    for part in parts[1:]:
        total = each(graph, total.sizes, [total, Value((part,))], lambda a, b: graph.pointwise(combine, a, b))
    return total


def _reduced_part(graph: Graph, op: str, part: Part, dims: Sequence[int]) -> Part:
    axes = [(d, i, axis) for d, dim in enumerate(part.dims) for i, axis in enumerate(dim) if not axis.batch]
    if any(axis.batch for d in dims for axis in part.dims[d]):
        raise Unsupported("", "rows of one batch meet in a sum; a step must keep them apart")
    # As the node has them, and what counts for many places before.
    order = sorted(axes, key=lambda a: (-1, 0) if a[2].step is None else (a[2].step[0], -abs(a[2].step[1])))
    shape = tuple(axis.size for *_, axis in order)
    if part.node.shape:
        node = view(graph, part.node, part.starts, [axis.step for *_, axis in order], shape)
    else:
        node = spread(graph, part.node, shape)
    gone = [n for n, (d, *_) in enumerate(order) if d in dims]
    node = fold(graph, op, node, gone)
    left = [(d, i) for n, (d, i, _) in enumerate(order) if n not in gone]
    kept = tuple(
        () if d in dims else tuple(
            axis if axis.batch else Axis(axis.size, (left.index((d, i)), 1)) for i, axis in enumerate(dim)
        )
        for d, dim in enumerate(part.dims)
    )  # fmt: skip
    return Part(node, (0,) * len(node.shape), kept)


def shaped(graph: Graph, value: Value, sizes: Sequence[int]) -> Value:
    """The same numbers in another shape."""
    if len(value.parts) > 1:
        before, along = value.sizes, value.along
        front = math.prod(before[:along])
        for dim, size in enumerate(sizes):
            if math.prod(sizes[:dim]) == front and size > 1:
                whole = [part.sizes[along] * size for part in value.parts]
                if all(n % before[along] == 0 for n in whole):
                    news = [(*sizes[:dim], n // before[along], *sizes[dim + 1 :]) for n in whole]
                    return Value(tuple(_shaped(graph, p, new) for p, new in zip(value.parts, news, strict=True)), dim)
        value = joined(graph, value)
    return Value(tuple(_shaped(graph, part, sizes) for part in value.parts))


def _shaped(graph: Graph, part: Part, sizes: Sequence[int]) -> Part:
    left: list[Axis] = [axis for dim in part.dims for axis in dim]
    dims = list[Dim]()
    for size in sizes:
        dim, room = list[Axis](), size
        while room > 1:
            axis = left.pop(0)
            if axis.size > room:
                if axis.batch:
                    raise Unsupported("", APART)
                inner, rest = divmod(axis.size, room)
                if rest:
                    return _shaped(graph, _contiguous(graph, part), sizes)
                left.insert(0, axis._replace(size=inner))
                axis = Axis(room, axis.step and (axis.step[0], axis.step[1] * inner))
            elif room % axis.size:
                if axis.batch:
                    raise Unsupported("", APART)
                return _shaped(graph, _contiguous(graph, part), sizes)
            dim.append(axis)
            room //= axis.size
        dims.append(tuple(dim))
    return part._replace(dims=tuple(dims))


def _contiguous(graph: Graph, part: Part) -> Part:
    """A part's features as one axis, by way of memory."""
    batch = next((axis for dim in part.dims for axis in dim if axis.batch), None)
    flat = [axis for dim in part.dims for axis in dim]
    if batch is not None and flat[0] != batch:
        raise Unsupported("", APART)
    node = solid(graph, part, range(len(part.dims)))
    one = graph.node("cat", (node,), node.width) if len(node.shape) > 1 else node
    features = (Axis(one.width, (0, 1) if one.shape else None),) if one.width > 1 else ()
    return Part(one, (0,) * len(one.shape), ((batch,) if batch else (), features))


def moved(value: Value, order: Sequence[int]) -> Value:
    """With its dimensions in another order."""
    parts = tuple(part._replace(dims=tuple(part.dims[i] for i in order)) for part in value.parts)
    return Value(parts, list(order).index(value.along))


def without(value: Value, dims: Iterable[int]) -> Value:
    """Dimensions of one place taken away."""
    left = [i for i in range(len(value.sizes)) if i not in dims]
    if value.along not in left and len(value.parts) == 1:
        value = Value(value.parts, left[0] if left else 0)
    parts = tuple(part._replace(dims=tuple(part.dims[i] for i in left)) for part in value.parts)
    return Value(parts, left.index(value.along) if left else 0)


def expanded(graph: Graph, value: Value, sizes: Sequence[int], batch: int | None) -> Value:
    """Given to as many places as another shape has."""
    value = padded(value, len(sizes))
    several = len(value.parts) > 1
    parts = [
        _grown(
            graph,
            part,
            [part.sizes[i] if several and i == value.along else size for i, size in enumerate(sizes)],
            batch,
        )
        for part in value.parts
    ]
    return Value(tuple(parts), value.along)


def _grown(graph: Graph, part: Part, sizes: Sequence[int], batch: int | None) -> Part:
    dims = list(part.dims)
    for i, size in enumerate(sizes):
        if not dims[i] and size > 1:
            dims[i] = (Axis(size, None, i == batch),)
    shape = tuple(axis.size for dim in dims for axis in dim if not axis.batch)
    if part.node.shape or len(shape) != 1:
        return part._replace(dims=tuple(dims))
    node = spread(graph, part.node, shape)  # so that one loop makes it, where it is wanted wide
    wide = tuple(tuple(axis if axis.batch else Axis(axis.size, (0, 1)) for axis in dim) for dim in dims)
    return Part(node, (0,), wide)
