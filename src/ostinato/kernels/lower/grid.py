"""Values of several axes of features, heads say, or of a batch that is not the first axis: rows along one axis.

Along the other axes rows stand beside each other, each a value of its own; so what moves those axes costs nothing.
What cuts a row into single numbers is refused from MOST of them on.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..ir.graph import Graph, Value, width_of
from .vocabulary import Outside

MOST = 32  # rows, or single numbers, that one row is cut into: each is code of its own
APART = "it puts the batch and an axis of features into one; a step must keep the batch apart"


@dataclass(frozen=True)
class Grid:
    """A value of the shape `sizes`: `rows` [the same, but 1 along the batch and along `along`] of values.

    The last axis has one place and is none of the traced value's: where all is single numbers, rows are along it.
    """

    graph: Graph
    sizes: tuple[int, ...]
    batch: int | None  # which axis that is; None: a weight
    along: int
    rows: np.ndarray

    def at(self, index: Sequence[int]) -> Value:
        """The row at a place of the other axes; an axis of one place counts for all."""
        return self.rows[tuple(i if size > 1 else 0 for i, size in zip(index, self.rows.shape, strict=True))]

    def turned(self, along: int) -> "Grid":
        """The same with its rows along another axis: each number of a row becomes a part of another row."""
        if along == self.along:
            return self
        before, joined = self.sizes[self.along], self.sizes[along]
        if before > 1 and (count := before * self.rows.size) > MOST:
            raise Outside("", too_many(count))
        shape = [*self.rows.shape]
        shape[self.along], shape[along] = before, 1

        def row(index: tuple[int, ...]) -> Value:
            parts = [self.at(_put(_put(index, self.along, 0), along, i)) for i in range(joined)]
            return _joined(self.graph.cut(self.wide(p), index[self.along], 1) for p in parts)

        return replace(self, along=along, rows=_array(shape, row))

    def wide(self, value: Value) -> Value:
        """A row as wide as the axis is long, also where one number counts for all."""
        size = self.sizes[self.along]
        return value if width_of(value) == size else (self.graph.spread(value[0], size),)

    def moved(self, order: Sequence[int]) -> "Grid":
        """With its axes in another order."""
        sizes = tuple(self.sizes[i] for i in order)
        batch = None if self.batch is None else order.index(self.batch)
        return Grid(self.graph, sizes, batch, order.index(self.along), self.rows.transpose(order))

    def padded(self, axes: int) -> "Grid":
        """With axes of one place before its own."""
        more = axes - len(self.sizes)
        batch = None if self.batch is None else self.batch + more
        rows = self.rows.reshape((1,) * more + self.rows.shape)
        return Grid(self.graph, (1,) * more + self.sizes, batch, self.along + more, rows)

    def expanded(self, sizes: Sequence[int], batch: int | None) -> "Grid":
        """Given to as many places as another shape has."""
        found = replace(self.padded(len(sizes)), batch=batch)
        longer = [i for i, size in enumerate(found.sizes) if size == 1 and i != batch and sizes[i] > 1]
        longest = max(longer, key=lambda i: sizes[i], default=found.along)
        if sizes[longest] > found.sizes[found.along]:
            found = found.turned(longest)
        if found.sizes[found.along] == 1 < sizes[found.along]:
            found = replace(found, sizes=_put(found.sizes, found.along, sizes[found.along]))
            found = replace(found, rows=_array(found.rows.shape, lambda index: found.wide(found.rows[index])))
        shape = _outer(sizes, found.batch, found.along)
        return replace(found, sizes=tuple(sizes), rows=np.broadcast_to(found.rows, shape))

    def flat(self) -> Value:
        """All numbers side by side, the last axis first."""
        last = max((i for i, size in enumerate(self.sizes) if size > 1 and i != self.batch), default=self.along)
        found = self.turned(last)
        return _joined(found.wide(row) for row in found.rows.flat)

    def shaped(self, sizes: tuple[int, ...], batch: int | None) -> "Grid":
        """The same numbers in another shape."""
        if math.prod(self.sizes[: self.batch]) != math.prod(sizes[:batch]) and batch is not None:
            raise Outside("", APART)
        front, size = _features(self.sizes[: self.along], self.batch), self.sizes[self.along]
        for axis, new in enumerate(sizes):
            if new == size and axis != batch and _features(sizes[:axis], batch) == front:
                rows = self.rows.reshape(_outer(sizes, batch, axis))
                return Grid(self.graph, sizes, batch, axis, rows)
        return of_row(self.graph, self.flat(), sizes, batch)

    def filled(self, axis: int, size: int, number: float) -> "Grid":
        """A number at each place: as this, but `size` long along an axis."""
        sizes = _put(self.sizes, axis, size)
        shape = _outer(sizes, self.batch, self.along)
        rows = _array(shape, lambda index: (self.graph.const(number, sizes[self.along]),))
        return replace(self, sizes=sizes, rows=rows)

    def part(self, axis: int, start: int, stop: int, step: int = 1) -> "Grid":
        """Some places of an axis; of the batch all, for its size has been checked."""
        places = range(start, stop, step)
        sizes = _put(self.sizes, axis, len(places))
        if axis == self.batch:
            return self
        if axis != self.along:
            return replace(self, sizes=sizes, rows=np.take(self.rows, list(places), axis))
        if step == 1:
            cut = partial(self.graph.cut, start=start, width=len(places))
            return replace(self, sizes=sizes, rows=_array(self.rows.shape, lambda i: cut(self.wide(self.rows[i]))))
        if len(places) * self.rows.size > MOST:
            raise Outside("", f"a slice takes one of {step} features of {self.sizes[axis]}; neighbours were expected")

        def strided(index: tuple[int, ...]) -> Value:
            return _joined(self.graph.cut(self.wide(self.rows[index]), i, 1) for i in places)

        return replace(self, sizes=sizes, rows=_array(self.rows.shape, strided))

    def reduced(self, op: str, axes: Sequence[int], keep: bool) -> "Grid":
        """The sum or the largest along axes, not along the batch."""
        found, fold = self, "add" if op == "sum" else "maximum"
        for axis in axes:
            shape = _put(found.rows.shape, axis, 1)

            def row(index: tuple[int, ...], of: Grid = found, axis: int = axis) -> Value:
                if axis == of.along:
                    wide = of.wide(of.rows[index])
                    return wide if of.sizes[axis] == 1 else of.graph.reduce(op, wide)
                total, *others = (of.rows[_put(index, axis, i)] for i in range(of.rows.shape[axis]))
                for other in others:
                    total = of.graph.each(fold, total, other)
                return total

            found = replace(found, sizes=_put(found.sizes, axis, 1), rows=_array(shape, row))
        return found if keep else found.without(axes)

    def without(self, axes: Sequence[int]) -> "Grid":
        """Axes of one place taken away."""
        found = self.turned(len(self.sizes) - 1) if self.along in axes else self
        left = [i for i in range(len(self.sizes)) if i not in axes]
        batch = None if found.batch is None else left.index(found.batch)
        rows = found.rows.reshape([found.rows.shape[i] for i in left])
        return Grid(self.graph, tuple(self.sizes[i] for i in left), batch, left.index(found.along), rows)


def of_row(graph: Graph, value: Value, sizes: tuple[int, ...], batch: int | None) -> Grid:
    """A row read as a shape."""
    along = max((i for i, size in enumerate(sizes) if size > 1 and i != batch), default=len(sizes) - 1)
    shape, width = _outer(sizes, batch, along), sizes[along]
    count = math.prod(shape)
    if count > MOST:
        raise Outside("", too_many(count))
    if width_of(value) == 1 < count * width:
        value = (graph.spread(value[0], count * width),)
    begins = np.arange(0, count * width, width).reshape(shape)
    return Grid(graph, sizes, batch, along, _array(shape, lambda index: graph.cut(value, int(begins[index]), width)))


def each(sizes: tuple[int, ...], batch: int, operands: Sequence[Grid], meaning: Callable[..., Value]) -> Grid:
    """Place by place: `meaning` of the operands' rows."""
    grids = [g.padded(len(sizes)) for g in operands]
    along = max((g.along for g in grids), key=lambda i: (sizes[i], i))  # long rows stay, short ones are cut
    grids = [g.turned(along) for g in grids]
    shape = _outer(sizes, batch, along)
    if math.prod(shape) > MOST:
        raise Outside("", too_many(math.prod(shape)))
    rows = _array(shape, lambda index: meaning(*(g.at(index) for g in grids)))
    return Grid(grids[0].graph, sizes, batch, along, rows)


def beside(grids: Sequence[Grid], axis: int) -> Grid:
    """Side by side along an axis."""
    sizes = _put(grids[0].sizes, axis, sum(g.sizes[axis] for g in grids))
    along = max((g.along for g in grids), key=lambda i: (i != axis, sizes[i]))
    grids = [g.turned(along) for g in grids]
    if along != axis:
        return replace(grids[0], sizes=sizes, rows=np.concatenate([g.rows for g in grids], axis))
    rows = _array(grids[0].rows.shape, lambda index: _joined(g.wide(g.rows[index]) for g in grids))
    return replace(grids[0], sizes=sizes, rows=rows)


def too_many(count: int) -> str:
    return f"it would cut a row into {count} parts, and {MOST} are the most"


def _features(sizes: Sequence[int], batch: int | None) -> int:
    return math.prod(size for i, size in enumerate(sizes) if i != batch)


def _outer(sizes: Sequence[int], batch: int | None, along: int) -> list[int]:
    return [1 if i in (batch, along) else size for i, size in enumerate(sizes)]


def _put(index: Sequence[int], axis: int, i: int) -> tuple[int, ...]:
    return (*index[:axis], i, *index[axis + 1 :])


def _joined(values: Any) -> Value:
    return tuple(itertools.chain.from_iterable(values))


def _array(shape: Sequence[int], row: Callable[[tuple[int, ...]], Value]) -> np.ndarray:
    """An array of values, which NumPy would take for arrays."""
    found = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        found[index] = row(index)
    return found
