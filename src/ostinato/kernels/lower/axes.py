"""What operations mean for values of several axes of features, or whose batch is not the first axis: see grid.py."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import fx

from ..ir.graph import Graph, Value
from . import pointwise, truths
from .grid import Grid, beside, each
from .vocabulary import VOCABULARY, Outside, axes_of, name_of

_AXES: dict[str, Callable[..., Grid]] = {}


class Reader(Protocol):
    graph: Graph
    rows: int  # the size that marks the batch

    def value(self, x: Any) -> Value: ...

    def grid(self, x: Any) -> Grid: ...


def of_axes(r: Reader, x: fx.Node) -> Grid:
    """One operation.

    Raises:
        Outside: it has no meaning for several axes.
    """
    name = name_of(x)
    try:
        if name in _AXES:
            return _AXES[name](r, x, *x.args, **x.kwargs)
        if name in VOCABULARY and VOCABULARY[name].__module__ in (pointwise.__name__, truths.__name__):
            return _placewise(r, x, VOCABULARY[name])
    except Outside as error:
        raise error if error.op else Outside(name, str(error)) from error
    raise Outside(name, f"{name} is read for one axis of features, and meets several" if name in VOCABULARY else "")


def placewise(name: str) -> bool:
    """Whether an operation is done place by place, whatever the axes."""
    return name in VOCABULARY and VOCABULARY[name].__module__ in (pointwise.__name__, truths.__name__)


class _Place:
    """A reader for which operands are rows of grids."""

    def __init__(self, r: Reader, rows: dict[fx.Node, Value]) -> None:
        self.r, self.rows, self.graph = r, rows, r.graph

    def value(self, x: Any) -> Value:
        return self.rows[x] if isinstance(x, fx.Node) else self.r.value(x)


def _placewise(r: Reader, x: fx.Node, meaning: Callable[..., Value]) -> Grid:
    operands, (sizes, batch) = x.all_input_nodes, _shape(r, x)

    def row(*values: Value) -> Value:
        return meaning(_Place(r, dict(zip(operands, values, strict=True))), x, *x.args, **x.kwargs)

    return each(sizes, batch, [r.grid(operand) for operand in operands], row)


def _shape(r: Reader, x: fx.Node) -> tuple[tuple[int, ...], int]:
    """The sizes of a grid, and which of them is the batch."""
    shape = tuple(x.meta["val"].shape)
    if r.rows not in shape:
        raise Outside("", f"{name_of(x)} gives the shape {list(shape)}, which has no axis of the batch alone")
    return (*shape, 1), shape.index(r.rows)


def _of(*names: str) -> Callable[[Callable[..., Grid]], Callable[..., Grid]]:
    def add(meaning: Callable[..., Grid]) -> Callable[..., Grid]:
        _AXES.update(dict.fromkeys(names, meaning))
        return meaning

    return add


@_of("view", "reshape", "_unsafe_view", "clone", "alias", "detach", "squeeze", "unsqueeze")
def _view(r: Reader, x: fx.Node, source: fx.Node, *rest: Any, **options: Any) -> Grid:
    return r.grid(source).shaped(*_shape(r, x))


@_of("permute", "transpose", "t")
def _permute(r: Reader, x: fx.Node, source: fx.Node, *axes: Any) -> Grid:
    grid = r.grid(source)
    count = len(grid.sizes) - 1
    if len(axes) == 1:
        order = [axis % count for axis in axes[0]]
    else:
        a, b = (axis % count for axis in axes or (0, 1))
        order = [b if i == a else a if i == b else i for i in range(count)]
    return grid.moved([*order, count])


@_of("expand")
def _expand(r: Reader, x: fx.Node, source: fx.Node, *rest: Any, **options: Any) -> Grid:
    sizes, batch = _shape(r, x)
    return r.grid(source).expanded(sizes, batch)


@_of("broadcast_in_dim")
def _broadcast(r: Reader, x: fx.Node, source: fx.Node, shape: Any, axes: Sequence[int]) -> Grid:
    sizes, batch = _shape(r, x)
    given = source.meta["val"].shape
    apart = tuple(given[axes.index(i)] if i in axes else 1 for i in range(len(shape)))
    return r.grid(source).shaped((*apart, 1), batch if r.rows in apart else None).expanded(sizes, batch)


@_of("select")
def _select(r: Reader, x: fx.Node, source: fx.Node, axis: int, index: int) -> Grid:
    grid = r.grid(source)
    axis %= len(grid.sizes) - 1
    if axis == grid.batch:
        raise Outside("select", "one row of the batch is taken; a step must keep the batch as it is")
    index %= grid.sizes[axis]
    return grid.part(axis, index, index + 1).without([axis])


@_of("slice")
def _slice(
    r: Reader, x: fx.Node, source: fx.Node, axis: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Grid:
    grid = r.grid(source)
    axis %= len(grid.sizes) - 1
    return grid.part(axis, *slice(start, end, step).indices(grid.sizes[axis]))


@_of("cat")
def _cat(r: Reader, x: fx.Node, values: Sequence[fx.Node], axis: int = 0) -> Grid:
    sizes, batch = _shape(r, x)
    axis %= len(sizes) - 1
    if axis == batch:
        raise Outside("cat", "rows are put below each other; a step must keep the batch as it is")
    return beside([r.grid(value) for value in values], axis)


@_of("slice_scatter")
def _slice_scatter(
    r: Reader, x: fx.Node, source: fx.Node, put: fx.Node, axis: int = 0, start: Any = None, end: Any = None,
    step: int = 1,
) -> Grid:  # fmt: skip
    base, new = r.grid(source), r.grid(put)
    axis %= len(base.sizes) - 1
    size = base.sizes[axis]
    places = range(*slice(start, end, step).indices(size))
    if axis == base.batch:
        return new
    parts = [
        new.part(axis, places.index(i), places.index(i) + 1) if i in places else base.part(axis, i, i + 1)
        for i in range(size)
    ] if step != 1 else [
        base.part(axis, 0, places.start), new, base.part(axis, places.stop, size)
    ]  # fmt: skip
    return beside([part for part in parts if part.sizes[axis]], axis)


@_of("copy")
def _copy(r: Reader, x: fx.Node, to: Any, source: fx.Node, *rest: Any) -> Grid:
    sizes, batch = _shape(r, x)
    return r.grid(source).expanded(sizes, batch)


def _reduced(r: Reader, op: str, x: fx.Node, source: fx.Node, keep: bool) -> Grid:
    return r.grid(source).reduced(op, axes_of(x), keep)


@_of("sum")
def _sum(r: Reader, x: fx.Node, source: fx.Node, axes: Any = None, keep: bool = False, **options: Any) -> Grid:
    return _reduced(r, "sum", x, source, keep)


@_of("amax")
def _amax(r: Reader, x: fx.Node, source: fx.Node, axes: Any = None, keep: bool = False) -> Grid:
    return _reduced(r, "amax", x, source, keep)


@_of("bmm")
def _products(r: Reader, x: fx.Node, a: fx.Node, b: fx.Node) -> Grid:
    """A product of each row's own two matrices."""
    left, right = r.grid(a), r.grid(b)
    if left.batch != 0 or right.batch != 0:
        raise Outside("bmm")
    rows, n, k, _ = left.sizes
    m = right.sizes[2]
    factors = [left.shaped((rows, n, k, 1, 1), 0), right.shaped((rows, 1, k, m, 1), 0)]
    return each((rows, n, k, m, 1), 0, factors, lambda *pair: r.graph.each("mul", *pair)).reduced("sum", [2], False)


@_of("constant_pad_nd")
def _pad(r: Reader, x: fx.Node, source: fx.Node, widths: Sequence[int], number: float = 0.0) -> Grid:
    grid = r.grid(source)
    for i, (before, after) in enumerate(zip(widths[::2], widths[1::2], strict=True)):
        axis = len(grid.sizes) - 2 - i
        if axis == grid.batch and (before or after):
            raise Outside("constant_pad_nd", "rows are added to the batch; a step must keep it as it is")
        size = grid.sizes[axis]
        grid = grid.part(axis, max(0, -before), size - max(0, -after)) if min(before, after) < 0 else grid
        filled = [grid.filled(axis, width, number) if width > 0 else None for width in (before, after)]
        grid = beside([part for part in (filled[0], grid, filled[1]) if part is not None], axis)
    return grid
