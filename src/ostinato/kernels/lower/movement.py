"""What operations mean that compute nothing: other shapes, parts, values side by side."""

from collections.abc import Sequence
from typing import Any

from torch import fx

from ..table import Unsupported
from ..trace.nodes import features
from .op_registry import Reader, reads
from .shaping import expanded, moved, shaped, without
from .values import Value, beside, cut, of_node


def _shape(r: Reader, x: fx.Node) -> tuple[tuple[int, ...], int | None]:
    """The sizes of a traced value, and which of them is the batch alone."""
    sizes = tuple(x.meta["val"].shape)
    return sizes, sizes.index(r.rows) if r.rows in sizes else None


@reads("view", "reshape", "_unsafe_view", "clone", "alias", "detach", "squeeze", "unsqueeze")
def same(r: Reader, x: fx.Node, source: Any, *rest: Any, **options: Any) -> Value:
    return shaped(r.graph, r.value(source), x.meta["val"].shape)


@reads("expand")
def expand(r: Reader, x: fx.Node, source: Any, *rest: Any, **options: Any) -> Value:
    return expanded(r.graph, r.value(source), *_shape(r, x))


@reads("copy")
def copy(r: Reader, x: fx.Node, to: Any, source: Any, *rest: Any) -> Value:
    if not isinstance(source, fx.Node):
        return expanded(r.graph, of_node(r.graph.const(source), (), None, ()), *_shape(r, x))
    return expanded(r.graph, r.value(source), *_shape(r, x))


@reads("broadcast_in_dim")
def broadcast(r: Reader, x: fx.Node, source: fx.Node, shape: Any, axes: Sequence[int]) -> Value:
    given = source.meta["val"].shape
    apart = [given[axes.index(i)] if i in axes else 1 for i in range(len(shape))]
    return expanded(r.graph, shaped(r.graph, r.value(source), apart), *_shape(r, x))


@reads("permute", "transpose", "t")
def permute(r: Reader, x: fx.Node, source: fx.Node, *axes: Any) -> Value:
    count = source.meta["val"].dim()
    if len(axes) == 1:
        order = [axis % count for axis in axes[0]]
    else:
        a, b = (axis % count for axis in axes or (0, 1))
        order = [b if i == a else a if i == b else i for i in range(count)]
    return moved(r.value(source), order[:count])


def _batch(r: Reader, value: Value, axis: int) -> bool:
    return any(part.batch for part in value.parts[0].dims[axis])


@reads("select")
def select(r: Reader, x: fx.Node, source: fx.Node, axis: int, index: int) -> Value:
    value = r.value(source)
    axis %= len(value.sizes)
    if _batch(r, value, axis):
        raise Unsupported("select", "one row of the batch is taken; a step must keep the batch as it is")
    return without(cut(r.graph, value, axis, index % value.sizes[axis], 1), [axis])


@reads("slice")
def part(r: Reader, x: fx.Node, source: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    value = r.value(source)
    axis %= max(1, len(value.sizes))
    places = range(*slice(start, end, step).indices(value.sizes[axis]))
    if len(places) == value.sizes[axis]:
        return value  # of the batch all: its size has been checked
    return cut(r.graph, value, axis, places.start, len(places), step)


@reads("flip")
def flip(r: Reader, x: fx.Node, source: Any, axes: Sequence[int]) -> Value:
    value = r.value(source)
    for axis in axes:
        size = value.sizes[axis]
        value = cut(r.graph, value, axis % len(value.sizes), size - 1, size, -1) if size > 1 else value
    return value


@reads("embedding")
def embedding(r: Reader, x: fx.Node, table: fx.Node, ids: fx.Node, *rest: Any, **options: Any) -> Value:
    (row,) = (part.node for part in r.value(ids).parts)
    if row.op != "in" or row.attr[0] != "drive" or row.shape:
        raise Unsupported(
            "embedding", "a table is read at a place that the step computes; token ids from outside are read"
        )
    sizes, batch = _shape(r, x)
    node = r.graph.node("lookup", (), features(x), (row.attr[1], table))
    return of_node(node, sizes, batch, [len(sizes) - 1])


@reads("cat")
def cat(r: Reader, x: fx.Node, values: Sequence[fx.Node], axis: int = 0) -> Value:
    together = [r.value(v) for v in values]
    axis %= x.meta["val"].dim()
    if _batch(r, together[0], axis):
        raise Unsupported("cat", "rows are put below each other; a step must keep the batch as it is")
    rows, sizes = _shape(r, x)[1], list(x.meta["val"].shape)
    # What holds weights alone stands in each row of the batch all the same.
    shapes = [[*sizes[:axis], value.sizes[axis], *sizes[axis + 1 :]] for value in together]
    return beside([expanded(r.graph, v, shape, rows) for v, shape in zip(together, shapes, strict=True)], axis, r.graph)


@reads("slice_scatter")
def slice_scatter(
    r: Reader, x: fx.Node, source: Any, put: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    base, new = r.value(source), r.value(put)
    axis %= len(base.sizes)
    size = base.sizes[axis]
    places = range(*slice(start, end, step).indices(size))
    if len(places) == size:
        return new
    if step == 1:
        return _replaced(r, base, axis, places.start, places.stop, new)
    parts = [
        cut(r.graph, new, axis, places.index(i), 1) if i in places else cut(r.graph, base, axis, i, 1)
        for i in range(size)
    ]
    return beside(parts, axis, r.graph)


def _replaced(r: Reader, base: Value, axis: int, start: int, stop: int, new: Value) -> Value:
    """A value with another in some places of an axis."""
    size = base.sizes[axis]
    before = [cut(r.graph, base, axis, 0, start)] if start else []
    after = [cut(r.graph, base, axis, stop, size - stop)] if stop < size else []
    return beside([*before, new, *after], axis, r.graph)


@reads("select_scatter")
def select_scatter(r: Reader, x: fx.Node, source: Any, put: fx.Node, axis: int, index: int) -> Value:
    base = r.value(source)
    axis %= len(base.sizes)
    index %= base.sizes[axis]
    new = shaped(r.graph, r.value(put), [1 if i == axis else size for i, size in enumerate(base.sizes)])
    return _replaced(r, base, axis, index, index + 1, new)


@reads("constant_pad_nd")
def pad(r: Reader, x: fx.Node, a: Any, widths: Any, number: float = 0.0) -> Value:
    value = r.value(a)
    for i, (before, after) in enumerate(zip(widths[::2], widths[1::2], strict=True)):
        axis = len(value.sizes) - 1 - i
        if (before or after) and _batch(r, value, axis):
            raise Unsupported("constant_pad_nd", "rows are added to the batch; a step must keep it as it is")
        size = value.sizes[axis]
        low, high = max(0, -before), size - max(0, -after)
        value = cut(r.graph, value, axis, low, high - low)
        sizes, batch = value.sizes, next((j for j in range(len(value.sizes)) if _batch(r, value, j)), None)

        def filled(width: int, axis: int = axis, sizes: Any = sizes, batch: Any = batch) -> Value:
            wide = [width if j == axis else size for j, size in enumerate(sizes)]
            return expanded(r.graph, of_node(r.graph.const(number), (1,) * len(wide), None, ()), wide, batch)

        value = beside(
            [*([filled(before)] if before > 0 else []), value, *([filled(after)] if after > 0 else [])], axis, r.graph
        )
    return value
