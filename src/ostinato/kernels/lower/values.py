"""Traced values as strided parts of nodes: what moves axes, cuts, joins or repeats computes nothing.

A value has the traced tensor's dimensions. Each is a product of axes, most often of one; a dimension of one place has
none, and the batch is an axis like others. Along one dimension a value may consist of several parts, side by side.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from ..ir.graph import MOST, Graph, Node
from ..table import Unsupported
from .views import Step, view

APART = "it cuts the batch, or puts it into one axis with features; a step must keep the batch apart"


class Axis(NamedTuple):
    """Some places of a dimension."""

    size: int
    step: Step | None  # along which axis of the node; None: the same for all, or the batch
    batch: bool = False


Dim = tuple[Axis, ...]


class Part(NamedTuple):
    """A node, read so: see views.py."""

    node: Node
    starts: tuple[int, ...]
    dims: tuple[Dim, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(math.prod(axis.size for axis in dim) for dim in self.dims)


class Value(NamedTuple):
    """Parts side by side along a dimension; of one alone that says nothing."""

    parts: tuple[Part, ...]
    along: int = 0

    @property
    def sizes(self) -> tuple[int, ...]:
        sizes = list(self.parts[0].sizes)
        if len(self.parts) > 1:
            sizes[self.along] = sum(part.sizes[self.along] for part in self.parts)
        return tuple(sizes)

    @property
    def cuts(self) -> list[int]:
        """Where parts end."""
        return list(itertools.accumulate(part.sizes[self.along] for part in self.parts))


def order_of(sizes: Sequence[int]) -> list[int]:
    """The dimensions of more than one place as memory holds them: the longest last, where lanes run along it."""
    longer = [i for i, size in enumerate(sizes) if size > 1]
    longest = max(longer, key=lambda i: (sizes[i], i), default=0)
    return [i for i in longer if i != longest] + [i for i in longer if i == longest]


def of_node(node: Node, sizes: Sequence[int], batch: int | None, order: Sequence[int]) -> Value:
    """A node whose axes are dimensions, in an order; a single number counts for all places."""
    dims = []
    for i, size in enumerate(sizes):
        if i == batch:
            dims.append((Axis(size, None, True),))
        else:
            dims.append((Axis(size, (order.index(i), 1) if node.shape else None),) if size > 1 else ())
    return Value((Part(node, (0,) * len(node.shape), tuple(dims)),))


def row(graph: Graph, value: Value, order: Sequence[int] | None = None) -> tuple[Node, ...]:
    """The numbers of a row of the batch, as nodes that lie side by side: its dimensions in an order, last innermost.

    Where all are one single number the node is as wide all the same.
    """
    order = list(range(len(value.sizes))) if order is None else list(order)
    first = next((i for i in order if value.sizes[i] > 1 and not _only_batch(value, i)), value.along)
    if len(value.parts) > 1 and value.along != first:
        value = joined(graph, value, [i for i in order if value.sizes[i] > 1 and not _only_batch(value, i)])
    return tuple(solid(graph, part, order) for part in value.parts)


def _only_batch(value: Value, dim: int) -> bool:
    axes = value.parts[0].dims[dim]
    return bool(axes) and all(axis.batch for axis in axes)


def solid(graph: Graph, part: Part, order: Sequence[int]) -> Node:
    """A part as a node whose axes are those of its dimensions, in an order."""
    axes = [axis for i in order for axis in part.dims[i] if not axis.batch]
    shape = tuple(axis.size for axis in axes)
    if not part.node.shape:
        return spread(graph, part.node, shape)
    return view(graph, part.node, part.starts, [axis.step for axis in axes], shape)


def spread(graph: Graph, node: Node, shape: tuple[int, ...]) -> Node:
    if node.op == "const":
        return graph.const(node.attr, shape)
    return graph.node("spread", (node,), shape) if shape else node


def joined(graph: Graph, value: Value, order: Sequence[int] | None = None) -> Value:
    """The same as one part, which lies in memory, its dimensions of more than one place in an order."""
    if len(value.parts) == 1:
        return value
    sizes, along = value.sizes, value.along
    like = value.parts[0]
    order = order or order_of([1 if _only_batch(value, i) else size for i, size in enumerate(sizes)])
    batches = tuple(tuple(axis for axis in dim if axis.batch) for dim in like.dims)
    if any(batches[i] and not _only_batch(value, i) for i in range(len(sizes))):
        raise Unsupported("", APART)
    begins = tuple(end - part.sizes[along] for end, part in zip(value.cuts, value.parts, strict=True))
    shape, axis = tuple(sizes[i] for i in order), order.index(along)
    nodes = [_flat(graph, part, order, along) for part in value.parts]
    if axis == 0 and len(shape) == 1:
        node = graph.cat(tuple(nodes))
    else:
        node = graph.node("join", nodes, shape, (axis, begins))
    dims = tuple(batches[i] or ((Axis(size, (order.index(i), 1)),) if size > 1 else ()) for i, size in enumerate(sizes))
    return Value((Part(node, (0,) * len(shape), dims),))


def _flat(graph: Graph, part: Part, order: Sequence[int], along: int) -> Node:
    """A part as a node of one axis a dimension."""
    node = solid(graph, part, order)
    shape = tuple(part.sizes[i] for i in order if part.sizes[i] > 1)
    if node.shape == shape:
        return node
    flat = graph.node("cat", (node,), node.width)
    inner = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return view(graph, flat, (0,), [(0, step) for step in inner], shape)


def cut(graph: Graph, value: Value, dim: int, start: int, size: int, step: int = 1) -> Value:
    """Places start, start + step, ... of a dimension, `size` of them; step may be negative."""
    if len(value.parts) > 1 and value.along == dim:
        if step != 1:
            return beside([cut(graph, value, dim, start + i * step, 1) for i in range(size)], dim, graph)
        parts, begin = [], 0
        for part, end in zip(value.parts, value.cuts, strict=True):
            low, high = max(begin, start), min(end, start + size)
            if low < high:
                parts.append(_cut_part(graph, part, dim, low - begin, high - low, 1))
            begin = end
        return Value(tuple(parts), dim)
    return Value(tuple(_cut_part(graph, part, dim, start, size, step) for part in value.parts), value.along)


def _cut_part(graph: Graph, part: Part, dim: int, start: int, size: int, step: int) -> Part:
    axes = part.dims[dim]
    if size == part.sizes[dim] and start == 0 and step == 1:
        return part
    if any(axis.batch for axis in axes):
        raise Unsupported("", APART)
    if len(axes) > 1:
        part = merged(graph, part, dim)
        axes = part.dims[dim]
    starts = list(part.starts)
    along = axes[0].step if axes else None
    if along is not None:
        starts[along[0]] += start * along[1]
        along = (along[0], along[1] * step)
    dims = (*part.dims[:dim], (Axis(size, along),) if size > 1 else (), *part.dims[dim + 1 :])
    return Part(part.node, tuple(starts), dims)


def merged(graph: Graph, part: Part, dim: int) -> Part:
    """A part of which a dimension is one axis, by way of memory; unless several axes of the node are one walk."""
    axes = part.dims[dim]
    if all(axis.step is None for axis in axes):
        one = Axis(part.sizes[dim], None)
        return part._replace(dims=(*part.dims[:dim], (one,), *part.dims[dim + 1 :]))
    last = axes[-1].step
    sizes = [axis.size for axis in axes]
    walk = [(last[0], last[1] * math.prod(sizes[i + 1 :])) for i in range(len(axes))] if last else []
    if [axis.step for axis in axes] == walk:  # one axis that was split
        one = Axis(part.sizes[dim], last)
        return part._replace(dims=(*part.dims[:dim], (one,), *part.dims[dim + 1 :]))
    if any(axis.batch for other in part.dims if len(other) > 1 for axis in other):
        raise Unsupported("", APART)
    order = [i for i, other in enumerate(part.dims) if not any(axis.batch for axis in other)]
    node = _flat(graph, part, order, dim)
    longer = [i for i in order if part.sizes[i] > 1]
    dims = tuple(
        other if i not in order else (Axis(part.sizes[i], (longer.index(i), 1)),) if i in longer else ()
        for i, other in enumerate(part.dims)
    )
    return Part(node, (0,) * len(node.shape), dims)


def beside(values: Sequence[Value], dim: int, graph: Graph) -> Value:
    """Side by side along a dimension."""
    values = [v if len(v.parts) == 1 or v.along == dim else joined(graph, v) for v in values]
    whole = Value(tuple(part for v in values for part in v.parts if part.sizes[dim]), dim)
    return joined(graph, whole) if len(whole.parts) > MOST else whole


def padded(value: Value, count: int) -> Value:
    more = count - len(value.parts[0].dims)
    return Value(tuple(p._replace(dims=((),) * more + p.dims) for p in value.parts), value.along + more)
