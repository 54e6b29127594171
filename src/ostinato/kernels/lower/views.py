"""Nodes read in part, in another order of their axes, or often: views, which compute nothing.

A view says for each of its axes along which axis of the node it runs and how far a place is from the next, or None
where all places hold the same number; and for each axis of the node where it begins. Axes of one place are none.
"""

import math
from collections.abc import Sequence

from ..ir.graph import Graph, Node, offsets
from ..ir.ops import LEAVES, POINTWISE
from ..trace.nodes import permuted

Step = tuple[int, int]  # (axis of the node, distance in places of that axis)


def view(graph: Graph, node: Node, starts: Sequence[int], steps: Sequence[Step | None], shape: tuple[int, ...]) -> Node:
    """The view of that shape; a row's single number (shape ()) counts for all places and stays itself.

    Args:
        starts: one for each axis of the node.
        steps: one for each axis of the view.
    """
    if not node.shape:
        return node
    if node.op == "const":
        return graph.const(node.attr, shape)
    if node.op == "spread":
        return graph.node("spread", node.args, shape) if shape else node.args[0]
    if node.op in ("view", "slice"):
        return _of_view(graph, node, starts, steps, shape)
    if shape == node.shape and not any(starts) and all(step == (i, 1) for i, step in enumerate(steps)):
        return node
    if node.op == "vector" and steps and steps[-1] not in (None, (len(node.shape) - 1, 1)):
        node, steps = _turned(graph, node, steps, shape)
    if (part := _inside(node, starts, steps, shape)) is not None:
        return view(graph, *part, shape)
    if len(node.shape) == 1 and all(step == (0, 1) for step in steps):
        if node.op in LEAVES or node.op == "mm":
            return graph.node("slice", (node,), shape, starts[0])
        if node.op == "cat" and not any(len(a.shape) > 1 for a in node.args):
            return _of_row(graph, node, starts[0], math.prod(shape))
    if node.op in POINTWISE and _places(node, steps, shape) < node.width:
        return _of_pointwise(graph, node, starts, steps, shape)
    return graph.node("view", (node,), shape, (tuple(starts), tuple(steps)))


def _turned(
    graph: Graph, node: Node, steps: Sequence[Step | None], shape: tuple[int, ...]
) -> tuple[Node, Sequence[Step | None]]:
    """A weight whose axes lie as the whole of it is read, and the steps along them; itself where less is read.

    It is turned once for all steps: lanes that run across it would be gathered number by number in each one.
    """
    whole = [step[0] for step, size in zip(steps, shape, strict=True) if step == (step and step[0], 1) and step
             and node.shape[step[0]] == size]  # fmt: skip
    if sorted(whole) != list(range(len(node.shape))) or len(whole) != sum(step is not None for step in steps):
        return node, steps
    longer = [i for i, size in enumerate(node.attr.meta["val"].shape) if size > 1]
    other = permuted(node.attr, [longer[axis] for axis in whole])
    weight = graph.node("vector", (), tuple(node.shape[axis] for axis in whole), other)
    return weight, [step and (whole.index(step[0]), 1) for step in steps]


def _of_view(
    graph: Graph, node: Node, starts: Sequence[int], steps: Sequence[Step | None], shape: tuple[int, ...]
) -> Node:
    """A view of a view is one of what that one is of."""
    begins, inner = ((node.attr,), ((0, 1),)) if node.op == "slice" else node.attr
    begins = list(begins)
    for start, step in zip(starts, inner if node.shape else (), strict=True):
        if step is not None:
            begins[step[0]] += start * step[1]
    outer = []
    for step in steps:
        under = None if step is None else inner[step[0]]
        outer.append(None if step is None or under is None else (under[0], under[1] * step[1]))
    return view(graph, node.args[0], begins, outer, shape)


def _of_pointwise(
    graph: Graph, node: Node, starts: Sequence[int], steps: Sequence[Step | None], shape: tuple[int, ...]
) -> Node:
    """Of what is computed only that which is read, and once where a number counts for several places."""
    kept = [i for i, step in enumerate(steps) if step is not None]
    less = tuple(shape[i] for i in kept)
    args = [view(graph, a, starts, [steps[i] for i in kept], less) for a in node.args]
    part = graph.pointwise(node.op, *args)
    again = [(kept.index(i), 1) if i in kept else None for i in range(len(shape))]
    return view(graph, part, [0] * len(less), again, shape)


def _inside(
    node: Node, starts: Sequence[int], steps: Sequence[Step | None], shape: tuple[int, ...]
) -> tuple[Node, Sequence[int], Sequence[Step | None]] | None:
    """The part of what is joined that a view lies in, and the view of that part; None where it takes of several."""
    if node.op != "join":
        return None
    axis, begins = node.attr
    low = starts[axis]
    high = low + 1 + sum((size - 1) * s[1] for s, size in zip(steps, shape, strict=True) if s and s[0] == axis)
    for part, begin, end in zip(node.args, begins, (*begins[1:], node.shape[axis]), strict=True):
        if begin <= low and high <= end:
            inner = [start - begin * (i == axis) for i, start in enumerate(starts)]
            if end - begin > 1:
                return part, inner, steps
            left = [i for i in range(len(node.shape)) if i != axis]  # an axis of one place is none
            moved = [None if s is None or s[0] == axis else (left.index(s[0]), s[1]) for s in steps]
            return part, [inner[i] for i in left], moved
    return None


def _of_row(graph: Graph, node: Node, start: int, width: int) -> Node:
    """Neighbours of what lies side by side."""
    parts = []
    for part, at in offsets(node.args):
        low, high = max(at, start), min(at + part.width, start + width)
        if low < high:
            size = high - low
            parts.append(view(graph, part, (low - at,), [(0, 1)] * (size > 1), (size,) if size > 1 else ()))
    return graph.cat(tuple(parts))


def _places(node: Node, steps: Sequence[Step | None], shape: tuple[int, ...]) -> int:
    """How many of the node's numbers are read."""
    return math.prod(size for step, size in zip(steps, shape, strict=True) if step is not None)


def fold(graph: Graph, op: str, node: Node, axes: Sequence[int]) -> Node:
    """The "sum" or "amax" of a node along some of its axes; along the last one last, for it is the one of lanes."""
    if not axes:
        return node
    if len(node.shape) == 1:
        return graph.node(op, (node,))
    last = len(node.shape) - 1
    outer = tuple(axis for axis in sorted(axes) if axis != last)
    if outer and last in axes:
        rest = fold(graph, op, node, outer)
        return fold(graph, op, rest, [len(rest.shape) - 1])
    gone = outer or (last,)
    return graph.node(op, (node,), tuple(size for i, size in enumerate(node.shape) if i not in gone), gone)
