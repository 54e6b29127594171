"""Sums along outer axes, where the lanes run along another: in registers if they can, else in memory.

In registers vectors stand side by side inside the loops over the axes that are folded.

    for each tile of a row                         the last one may be smaller
        its sums begin
        for each place of the folded axes
            the statements of one vector, once for each vector of the tile
        its sums are stored

What is folded along the lanes as well has, where a row is several tiles, a vector in memory for each of those places.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from typing import Any

from ..ir.buffers import Buffer
from ..ir.expressions import Expr, Float, Index, Int, Keep, LoadVector, Pointwise, Row, Spread, Type, Var
from ..ir.loops import Assign, For, Statement, Store, StoreVector
from ..ir.ops import OPS

LANE, COUNT = Var("j"), Var("n")
SUMS = 8  # vectors of sums at once: half the registers that the smallest machine has
STATEMENTS = 240  # of a tile: beyond them a compiler takes long


@dataclass(frozen=True)
class OuterSum:
    """A reduction along outer axes: of what, and where this vector of the result lies."""

    op: str
    axes: tuple[int, ...]
    value: Expr
    row: Row
    at: Index
    count: Expr | None

    def store(self, value: Expr) -> StoreVector:
        return StoreVector(self.row, self.at, value, self.count)


@dataclass(frozen=True)
class LaneFold:
    """A reduction along the lanes: what changes nothing, and how the result is stored."""

    neutral: float
    stores: tuple[Store, ...]


def tiled_axes(sums: Sequence[OuterSum], count: int) -> int | None:
    """Outside how many of the outer axes sums begin that need no memory; None where they do.

    They need none where they run along all the axes inside.
    """
    axes = {one.axes for one in sums}
    first = min((min(one) for one in axes), default=count)
    return first if axes == {tuple(range(first, count))} else None


def sum_in_memory(
    sums: Sequence[OuterSum], outer: Sequence[tuple[Var, int]], heads: Sequence[list[Statement]],
    body: list[Statement], vectors: Callable[[Sequence[Statement]], For],
) -> None:  # fmt: skip
    """Sums begin where their first axis does, and are added to by each vector.

    Args:
        vectors: the loop along the lanes.
    """
    for one in sums:
        op, first = OPS[one.op], min(one.axes)
        zeros: Statement = vectors([one.store(Spread(Float(op.neutral)))])
        for axis in range(len(outer) - 1, first, -1):
            if axis not in one.axes:
                index, size = outer[axis]
                zeros = For(index, Int(size), (zeros,))
        heads[first].append(zeros)
        old = LoadVector(one.row, one.at, one.count)
        body.append(one.store(Pointwise(op.joins, (old, one.value), Type.VECTOR)))


@dataclass(frozen=True)
class Nest:
    """The loops over the axes that sums run along, and what is in them.

    Args:
        axes: with what comes before and after that which is inside, once a place.
        body: of one vector, which begins at LANE and has COUNT lanes.
        folds: by the vectors that they are added up in.
        room: gives so many numbers of scratch: the pointer, and where they begin.
    """

    axes: Sequence[tuple[Var, int, Sequence[Statement], Sequence[Statement]]]
    width: int
    lanes: int
    body: Sequence[Statement]
    sums: Sequence[OuterSum]
    folds: Mapping[Var, LaneFold]
    room: Callable[[int], tuple[Row, int]]

    def statements(self) -> list[Statement]:
        size = max(1, min(SUMS // len(self.sums), STATEMENTS // (1 + len(self.body))))
        vectors = -(-self.width // self.lanes)
        whole = self.width // self.lanes // size if vectors > size else 0
        if vectors <= size or not self.folds:
            return self._tiles(size, whole, self)
        row, start = self.room(math.prod(n for _, n, *_ in self.axes) * self.lanes * len(self.folds))
        at: Index = Int(start)
        for k, (index, *_) in enumerate(self.axes):
            at = at + index * (math.prod(n for _, n, *_ in self.axes[k + 1 :]) * self.lanes * len(self.folds))
        places = {total: at + i * self.lanes for i, total in enumerate(self.folds)}
        begin, keep, end = list[Statement](), list[Statement](), list[Statement]()
        for total, fold in self.folds.items():
            begin.append(StoreVector(row, places[total], Spread(Float(fold.neutral))))
            keep.append(StoreVector(row, places[total], total))
            end += [Assign(total, LoadVector(row, places[total])), *fold.stores]
        *outer, (index, count, head, tail) = self.axes
        head = [self._taken_up(s, row, places) for s in head]
        stored = {store for fold in self.folds.values() for store in fold.stores}
        inside = (index, count, head, [*keep, *(s for s in tail if s not in stored)])
        tiles = self._tiles(size, whole, replace(self, axes=[*outer, inside]))
        return [self._bare(begin), *tiles, self._bare(end)]

    def _taken_up(self, s: Statement, row: Row, places: Mapping[Var, Index]) -> Statement:
        if isinstance(s, Assign) and isinstance(s.name, Var) and s.name in places:
            return Assign(s.name, LoadVector(row, places[s.name]))
        return s

    def _bare(self, body: Sequence[Statement]) -> For:
        """The loops without what is in them."""
        for index, count, *_ in reversed(self.axes):
            body = [For(index, Int(count), tuple(body))]
        (loop,) = body
        assert isinstance(loop, For)
        return loop

    def _tiles(self, size: int, whole: int, nest: "Nest") -> list[Statement]:
        """All tiles of a row: `whole` ones of so many vectors, and what is left."""
        step = size * self.lanes
        left = range(whole * step, self.width, self.lanes)
        rest = nest.tile([Vector(Int(at), k, self.width - at, self.lanes) for k, at in enumerate(left)])
        if not whole:
            return rest
        side_by_side = [Vector(LANE + k * self.lanes, k, self.lanes, self.lanes) for k in range(size)]
        tiles = nest.tile(side_by_side)
        return [For(LANE, Int(whole * step), tuple(tiles), Int(0), Int(step)), *(rest if left else [])]

    def tile(self, vectors: Sequence["Vector"]) -> list[Statement]:
        begin, body, end = list[Statement](), list[Statement](), list[Statement]()
        for vector in vectors:
            body += map(vector.statement, self.body)
            for number, one in enumerate(self.sums):
                op, held = OPS[one.op], Var(f"c{number}_{vector.number}", Type.VECTOR)
                begin.append(Assign(held, Spread(Float(op.neutral))))
                value = vector.rewritten(one.value)
                body.append(Assign(held, Pointwise(op.joins, (held, value), Type.VECTOR)))
                end.append(vector.rewritten(one.store(held)))
        for index, count, head, tail in reversed(self.axes):
            body = [For(index, Int(count), (*head, *body, *tail))]
        return [*begin, *body, *end]


class Vector:
    """The statements of one vector of a tile.

    Args:
        at: where it begins.
        number: of the vector: its variables are named by it.
        left: lanes up to the end of the row.
        lanes: of a vector.
    """

    def __init__(self, at: Expr, number: int, left: int, lanes: int) -> None:
        self.number, self.whole = number, left >= lanes
        self.names: dict[Var, Expr] = {LANE: at, COUNT: Int(left)}

    def statement(self, s: Statement) -> Statement:
        if isinstance(s, Assign) and isinstance(s.name, Var) and s.name.name.startswith("v"):
            value, name = self.rewritten(s.value), Var(f"{s.name.name}_{self.number}", s.name.type)
            self.names[s.name] = name
            return Assign(name, value)
        return self.rewritten(s)

    def rewritten(self, x: Any) -> Any:
        return _rewritten(x, self._other)

    def _other(self, x: Any) -> Any:
        if isinstance(x, Var):
            return self.names.get(x, x)
        if self.whole and isinstance(x, (LoadVector, StoreVector)) and x.count is not None:
            return self.rewritten(replace(x, count=None))
        return self.rewritten(x.value) if self.whole and isinstance(x, Keep) else x


def _rewritten(x: Any, other: Callable[[Any], Any]) -> Any:
    """A statement or an expression with parts exchanged."""
    y = other(x)
    if y is not x:
        return y
    if isinstance(x, tuple) and not isinstance(x, Buffer):
        return tuple(_rewritten(part, other) for part in x)
    if not is_dataclass(x) or isinstance(x, (type, Enum)):
        return x
    old = {f.name: getattr(x, f.name) for f in fields(x)}
    new = {name: _rewritten(part, other) for name, part in old.items()}
    return x if all(new[name] is part for name, part in old.items()) else replace(x, **new)
