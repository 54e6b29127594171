"""What operations mean that compute nothing: rows in other shapes, parts of rows, rows side by side."""

from typing import Any

from torch import fx

from ..ir.graph import Value, width_of
from .vocabulary import Outside, Reader, features, name_of, reads, single


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


def _start(source: fx.Node, start: Any) -> int:
    start = start or 0
    return max(0, start + features(source)) if start < 0 else start


@reads("slice")
def part(r: Reader, x: fx.Node, source: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    if _along_batch(x, axis) or single(source, axis):
        return r.value(source)  # all of the batch: its size has been checked
    if step != 1:
        return NotImplemented
    return r.graph.cut(r.value(source), _start(source, start), features(x))


@reads("select")
def select(r: Reader, x: fx.Node, source: Any, axis: int, index: int) -> Value:
    if _along_batch(source, axis):
        raise Outside("select", "one row of the batch is taken; a step must keep the batch as it is")
    return r.value(source) if single(source, axis) else r.graph.cut(r.value(source), _start(source, index), 1)


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
        return NotImplemented
    first, width = _start(source, start), features(x)
    last = first + width_of(new)
    return r.graph.cut(base, 0, first) + new + r.graph.cut(base, last, width - last)


@reads("cat")
def cat(r: Reader, x: fx.Node, values: Any, axis: int = 0) -> Value:
    if _along_batch(x, axis):
        raise Outside("cat", "rows are put below each other; a step must keep the batch as it is")
    return tuple(node for v in values for node in r.value(v))


@reads("constant_pad_nd")
def pad(r: Reader, x: fx.Node, a: Any, widths: Any, number: float = 0.0) -> Value:
    if any(widths[2:]):
        raise Outside("constant_pad_nd", "rows are added to the batch; a step must keep it as it is")
    value = r.value(a)
    before, after = (tuple(r.graph.const(number, w) for w in (w,) if w > 0) for w in widths[:2])
    start, end = (-min(0, w) for w in widths[:2])
    return before + r.graph.cut(value, start, width_of(value) - start - end) + after
