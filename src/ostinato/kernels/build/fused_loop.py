"""One loop of a stage: rows of the block outside, vectors of features inside, what is once a row around them."""

from collections.abc import Set

from ..ir.buffers import SUMS, Buffer, Target
from ..ir.expressions import (
    Base,
    Binary,
    Expr,
    Float,
    Fold,
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
    offset,
)  # fmt: skip
from ..ir.graph import Node
from ..ir.loops import Assign, For, Matrix, Multiply, Statement, Store, StoreVector
from ..ir.ops import EXPENSIVE, LEAVES, OPS, REDUCTIONS
from ..passes.legalise import lies
from ..passes.schedule import Loop
from .layout import ROW, Layout

ARITHMETIC = frozenset(("add", "sub", "mul", "div"))  # a number among vectors counts for every lane
ROWS, LANE, COUNT = Var("R"), Var("j"), Var("n")


def fused_loop(layout: Layout, loop: Loop, staged: Set[Node]) -> For | None:
    """The loop; None where nothing is stored: all of it is computed again where it is used.

    Args:
        staged: what the loops of all stages compute.
    """
    return _FusedLoop(layout, loop, staged).built()


def multiply(layout: Layout, n: Node, packed: Buffer) -> Multiply:
    """The product of the block's rows with a matrix."""
    factor = n.args[0]
    a, c = layout.base(factor), layout.base(n)
    layout.use(packed)
    sides = [Matrix(offset(Base(t.buffer), t.at), layout.stride(t.buffer)) for t in (a, c)]
    return Multiply(ROWS, Int(n.width), Int(factor.width), sides[0], Base(packed), sides[1])


class _FusedLoop:
    def __init__(self, layout: Layout, loop: Loop, staged: Set[Node]) -> None:
        self.layout, self.loop, self.staged = layout, loop, staged
        self.own = set(loop.nodes)
        self.count = COUNT if loop.width % layout.lanes else None  # of the lanes that are left, where a vector may end
        self.names: dict[Node, Var] = {}
        self.rows: dict[Buffer, None] = {}  # whose row it needs
        self.head: list[Statement] = []  # once a row, before the vectors
        self.body: list[Statement] = []  # once a vector
        self.tail: list[Statement] = []  # once a row, after them

    def built(self) -> For | None:
        for n in self.loop.nodes:
            if n.op in REDUCTIONS:
                self._reduce(n)
            elif self.layout.targets(n):
                self._store(n)
        if not self.body:
            return None
        width = Int(self.loop.width)
        rows = [Assign(Row(buffer), self.layout.row(buffer)) for buffer in self.rows]
        left = [Assign(COUNT, width - LANE)] if self.count else []
        vectors = For(LANE, width, (*left, *self.body), Int(0), Int(self.layout.lanes))
        return For(ROW, ROWS, (*rows, *self.head, vectors, *self.tail), note=f"{width.value} wide")

    def _name(self, n: Node, letter: str, kind: Type) -> Var:
        self.names[n] = Var(f"{letter}{len(self.names)}", kind)
        return self.names[n]

    def _pointer(self, n: Node) -> tuple[Row, Int]:
        return self._at(self.layout.base(n))

    def _at(self, target: Target) -> tuple[Row, Int]:
        self.rows[target.buffer] = None
        return Row(target.buffer), Int(target.at)

    def _scalar(self, n: Node) -> Expr:
        """One number a row."""
        if n.op == "const":
            return Float(n.attr)
        if n not in self.names:
            if lies(n) or n.op in REDUCTIONS:
                value: Expr = Load(*self._pointer(n))
            elif n.op in ("copy", "spread"):
                value = self._scalar(n.args[0])
            else:
                value = Pointwise(n.op, tuple(map(self._scalar, n.args)), Type.NUMBER)
            self.head.append(Assign(self._name(n, "s", Type.NUMBER), value))
        return self.names[n]

    def _value(self, n: Node) -> Expr:
        """One vector; one number where there is one a row."""
        if n.op == "const":
            return Float(n.attr)
        if self._single(n):
            return self._scalar(n)
        if n not in self.names:
            value = self._load(*self._pointer(n)) if self._loads(n) else self._computed(n)
            self.body.append(Assign(self._name(n, "v", Type.VECTOR), value))
        return self.names[n]

    def _single(self, n: Node) -> bool:
        return n.op == "const" or n.width == 1 < self.loop.width

    def _vector(self, n: Node) -> Expr:
        return Spread(self._value(n)) if self._single(n) else self._value(n)

    def _loads(self, n: Node) -> bool:
        """Whether a value is read from memory: it always lies there, or another loop made it."""
        if n in self.own:
            return False
        if n not in self.staged:
            return lies(n) or n.op in REDUCTIONS
        return n in self.layout.place or not _cheap(n)

    def _load(self, row: Row, at: Int) -> LoadVector:
        return LoadVector(row, at + LANE, self.count)

    def _computed(self, n: Node) -> Expr:
        if n.op in ("copy", "spread"):
            return self._vector(n.args[0])
        if n.op not in ARITHMETIC:
            return Pointwise(n.op, tuple(map(self._vector, n.args)), Type.VECTOR)
        args = tuple(map(self._value, n.args))
        if all(map(self._single, n.args)):
            return Spread(Pointwise(n.op, args, Type.NUMBER))
        return Pointwise(n.op, args, Type.VECTOR)

    def _reduce(self, n: Node) -> None:
        op = OPS[n.op]
        value = self._vector(n.args[0])
        total = self._name(n, "a", Type.VECTOR)
        if self.count:
            value = Keep(value, self.count, Float(op.neutral))
        self.head.append(Assign(total, Spread(Float(op.neutral))))
        self.body.append(Assign(total, Pointwise(op.joins, (total, value), Type.VECTOR)))
        targets = list(self.layout.placed.stores.get(n, ()))
        if n in self.layout.place or not targets:
            targets.append(self.layout.base(n))
        self.layout.place.setdefault(n, targets[0])
        for target in targets:
            self.layout.use(target.buffer)
            row, at = self._at(target)
            folded: Expr = Fold(n.op, total)
            if target.buffer == SUMS:
                folded = Binary("+", Load(row, at), folded)
            self.tail.append(Store(row, at, Num(folded)))

    def _store(self, n: Node) -> None:
        value = self._value(n)
        for target in self.layout.targets(n):
            self.layout.use(target.buffer)
            row, at = self._at(target)
            added = target.buffer == SUMS
            stored = Pointwise("add", (self._load(row, at), value), Type.VECTOR) if added else value
            self.body.append(StoreVector(row, at + LANE, stored, self.count))


def _cheap(n: Node) -> bool:
    """Whether it is computed again where it is used, from what lies in memory."""

    def near(a: Node) -> bool:
        return a.op in LEAVES or a.width == 1 or (a.op == "slice" and a.args[0].op in LEAVES)

    return n.op not in EXPENSIVE and n.op not in ("copy", "cat") and all(map(near, n.args))
