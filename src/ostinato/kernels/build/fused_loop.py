"""One loop of a stage: rows of the block outside, vectors of the last axis inside, the other axes between them.

What is one number for a whole vector is computed once before it. A sum along the last axis is added up in a vector; one
along the innermost of the others in several, side by side (`outer_sums.py`), and along other axes in memory.
"""

from collections.abc import Sequence, Set

from ..ir.buffers import SCRATCH, SUMS, Buffer, Target
from ..ir.expressions import (
    Binary,
    Expr,
    Float,
    Fold,
    Gather,
    Index,
    Int,
    Keep,
    Load,
    LoadVector,
    Num,
    Pointwise,
    Row,
    Spread,
    Type,
    Var,
)  # fmt: skip
from ..ir.graph import Node
from ..ir.loops import Assign, For, Scatter, Statement, Store, StoreVector
from ..ir.ops import EXPENSIVE, LEAVES, OPS, REDUCTIONS
from ..passes.legalise import accumulates, lies, strides_of
from ..passes.schedule import Loop
from .layout import ROW, Layout
from .outer_sums import COUNT, LANE, LaneFold, Nest, OuterSum, sum_in_memory, tiled_axes

ARITHMETIC = frozenset(("add", "sub", "mul", "div"))  # a number among vectors counts for every lane
ROWS = Var("R")


def fused_loop(layout: Layout, loop: Loop, staged: Set[Node]) -> For | None:
    """The loop; None where nothing is stored: all of it is computed again where it is used.

    Args:
        staged: what the loops of all stages compute.
    """
    return _FusedLoop(layout, loop, staged).built()


class _FusedLoop:
    def __init__(self, layout: Layout, loop: Loop, staged: Set[Node]) -> None:
        self.layout, self.loop, self.staged = layout, loop, staged
        self.own = set(loop.nodes)
        *outer, self.width = loop.shape or (1,)
        self.outer = [(Var(f"i{k}"), size) for k, size in enumerate(outer)]
        self.count = COUNT if self.width % layout.lanes else None  # of the lanes left, where a vector may end
        self.names: dict[Node, Var] = {}
        self.rows: dict[Buffer, None] = {}  # whose row it needs
        # Before and after what is inside: first once a row, then once a place of each axis but the last.
        self.heads: list[list[Statement]] = [[] for _ in (None, *outer)]
        self.tails: list[list[Statement]] = [[] for _ in (None, *outer)]
        self.body: list[Statement] = []  # once a vector
        self.sums: list[OuterSum] = []
        self.folds: dict[Var, LaneFold] = {}

    def built(self) -> For | None:
        for n in self.loop.nodes:
            if accumulates(n):
                self._accumulate(n)
            elif n.op in REDUCTIONS:
                self._reduce(n)
            elif self.layout.targets(n):
                self._store(n)
        if not self.body and not self.sums:
            return None
        axes = [(*self.outer[k], self.heads[k + 1], self.tails[k + 1]) for k in range(len(self.outer))]
        depth = tiled_axes(self.sums, len(axes)) if self.layout.lanes > 1 else None
        if depth is None:
            sum_in_memory(self.sums, self.outer, self.heads, self.body, self._vectors)
            depth = len(axes)
            inner: list[Statement] = [self._vectors(self.body)]
        else:
            tile = Nest(axes[depth:], self.width, self.layout.lanes, self.body, self.sums, self.folds, self._room)
            inner = tile.statements()
        for k in reversed(range(depth)):
            index, size = self.outer[k]
            inner = [For(index, Int(size), (*self.heads[k + 1], *inner, *self.tails[k + 1]))]
        rows = [Assign(Row(buffer), self.layout.row(buffer)) for buffer in self.rows]
        note = " x ".join(map(str, self.loop.shape or (1,)))
        return For(ROW, ROWS, (*rows, *self.heads[0], *inner, *self.tails[0]), note=f"{note} wide")

    def _room(self, numbers: int) -> tuple[Row, int]:
        self.rows[SCRATCH] = None
        return Row(SCRATCH), self.layout.scratch.take(numbers)

    def _vectors(self, body: Sequence[Statement]) -> For:
        width = Int(self.width)
        left = [Assign(COUNT, width - LANE)] if self.count else []
        return For(LANE, width, (*left, *body), Int(0), Int(self.layout.lanes))

    def _name(self, n: Node, letter: str, kind: Type) -> Var:
        self.names[n] = Var(f"{letter}{len(self.names)}", kind)
        return self.names[n]

    def _at(self, target: Target, strides: Sequence[int]) -> tuple[Row, Index]:
        """Where a target lies at this place of the axes but the last, by how far the next one of each is."""
        self.rows[target.buffer] = None
        at: Index = Int(target.at)
        for (index, _), stride in zip(self.outer, strides, strict=False):
            if stride:
                at = at + (index * stride if stride != 1 else index)
        return Row(target.buffer), at

    def _strides(self, n: Node) -> tuple[int, ...]:
        return self.layout.base(n).strides or strides_of(n.shape)

    def _scalar(self, n: Node) -> Expr:
        """One number a row, or a place of the outer axes."""
        if n.op == "const":
            return Num(Float(n.attr))
        if n not in self.names:
            level = 0
            if n.shape:  # a view that is the same along the last axis
                strides = self._strides(n)
                level = max((k + 1 for k, stride in enumerate(strides[:-1]) if stride), default=0)
                value: Expr = Load(*self._at(self.layout.base(n), strides))
            elif lies(n) or n.op in REDUCTIONS:
                value = Load(*self._at(self.layout.base(n), ()))
            elif n.op in ("copy", "spread"):
                value = self._scalar(n.args[0])
            else:
                value = Num(Pointwise(n.op, tuple(map(self._scalar, n.args)), Type.NUMBER))  # as vectors round
            self.heads[level].append(Assign(self._name(n, "s", Type.NUMBER), value))
        return self.names[n]

    def _value(self, n: Node) -> Expr:
        """One vector; one number where there is one for all its places."""
        if n.op == "const":
            return Float(n.attr)
        if self._single(n):
            return self._scalar(n)
        if n not in self.names:
            value = self._load(n, self.layout.base(n)) if self._loads(n) else self._computed(n)
            self.body.append(Assign(self._name(n, "v", Type.VECTOR), value))
        return self.names[n]

    def _single(self, n: Node) -> bool:
        if n.op == "const" or not n.shape:
            return n.op == "const" or self.loop.shape != ()
        return n.op == "view" and n not in self.own and self._strides(n)[-1] == 0

    def _vector(self, n: Node) -> Expr:
        return Spread(self._value(n)) if self._single(n) else self._value(n)

    def _loads(self, n: Node) -> bool:
        """Whether a value is read from memory: it always lies there, or another loop made it."""
        if n in self.own:
            return False
        if n not in self.staged:
            return lies(n) or n.op in REDUCTIONS
        return n in self.layout.place or not _cheap(n)

    def _load(self, n: Node, target: Target) -> Expr:
        strides = target.strides or strides_of(n.shape)
        row, at = self._at(target, strides)
        lane = strides[-1] if strides else 1
        if lane != 1:
            return Gather(row, at + LANE * lane, lane, self.count or Int(self.layout.lanes))
        return LoadVector(row, at + LANE, self.count)

    def _put(self, n: Node, target: Target, value: Expr) -> None:
        strides = target.strides or strides_of(n.shape)
        row, at = self._at(target, strides)
        lane = strides[-1] if strides else 1
        if lane == 1:
            self.body.append(StoreVector(row, at + LANE, value, self.count))
        else:
            left = self.count or Int(self.layout.lanes)
            self.body.append(Scatter(row, at + LANE * lane, lane, value, left))

    def _computed(self, n: Node) -> Expr:
        if n.op in ("copy", "spread"):
            return self._vector(n.args[0])
        if n.op not in ARITHMETIC:
            return Pointwise(n.op, tuple(map(self._vector, n.args)), Type.VECTOR)
        if all(map(self._single, n.args)):
            return Spread(Pointwise(n.op, tuple(map(self._scalar, n.args)), Type.NUMBER))
        return Pointwise(n.op, tuple(map(self._value, n.args)), Type.VECTOR)

    def _reduce(self, n: Node) -> None:
        """Along the last axis."""
        op, level = OPS[n.op], len(self.outer)
        value = self._vector(n.args[0])
        total = self._name(n, "a", Type.VECTOR)
        if self.count:
            value = Keep(value, self.count, Float(op.neutral))
        self.heads[level].append(Assign(total, Spread(Float(op.neutral))))
        self.body.append(Assign(total, Pointwise(op.joins, (total, value), Type.VECTOR)))
        targets = list(self.layout.placed.stores.get(n, ()))
        if n in self.layout.place or not targets:
            targets.append(self.layout.base(n))
        self.layout.place.setdefault(n, targets[0])
        stores = []
        for target in targets:
            self.layout.use(target.buffer)
            row, at = self._at(target, target.strides or strides_of(n.shape))
            folded: Expr = Fold(n.op, total)
            if target.buffer == SUMS:
                folded = Binary("+", Load(row, at), folded)
            stores.append(Store(row, at, Num(folded)))
        self.tails[level] += stores
        self.folds[total] = LaneFold(op.neutral, tuple(stores))

    def _accumulate(self, n: Node) -> None:
        """Along other axes than the last, in the one place where the result lies."""
        value = self._vector(n.args[0])
        targets = self.layout.targets(n)
        target = targets[0] if targets else self.layout.base(n)
        self.layout.place[n] = target
        self.layout.use(target.buffer)
        assert target.buffer != SUMS and target.strides is None
        left, inner = iter(strides_of(n.shape)), []
        for axis in range(len(self.loop.shape)):
            inner.append(0 if axis in n.attr else next(left))
        row, at = self._at(target, inner[:-1])
        self.sums.append(OuterSum(n.op, n.attr, value, row, at + LANE, self.count))

    def _store(self, n: Node) -> None:
        value = self._value(n)
        for target in self.layout.targets(n):
            self.layout.use(target.buffer)
            if target.buffer == SUMS:
                value = Pointwise("add", (self._load(n, target), value), Type.VECTOR)
            self._put(n, target, value)


def _cheap(n: Node) -> bool:
    """Whether it is computed again where it is used, from what lies in memory."""

    def near(a: Node) -> bool:
        return a.op in LEAVES or a.width == 1 or (a.op in ("slice", "view") and a.args[0].op in LEAVES)

    return n.op not in EXPENSIVE and n.op not in ("copy", "cat") and all(map(near, n.args))
