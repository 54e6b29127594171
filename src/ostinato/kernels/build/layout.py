"""Where the rows of one direction lie: in the arrays over time, in weights, or in a scratch of LD numbers a row."""

from collections.abc import Mapping

from ..ir.buffers import KINDS, SAVED, SCRATCH, SUMS, Buffer, Extent, Kind, Target
from ..ir.expressions import Base, Expr, Int, Load, RowStride, ToInt, Var, expr, offset
from ..ir.graph import Node
from ..passes.legalise import Placed, Scratch, strides_of
from ..passes.plan import Plan

STEPS, LD, ROW, PART = Var("T"), Var("LD"), Var("r"), Var("steps")


class Layout:
    """What a direction reads and writes, noted as its loops ask for it: `used`, `vectors`, `tables`.

    Args:
        inputs: features of x, for each leaf of the drive that is its product with a matrix, made as it is wanted.
        like: another layout of the same kernel, whose weights have the same names.
    """

    def __init__(
        self, plan: Plan, placed: Placed, reverse: bool, lanes: int, inputs: Mapping[Buffer, int],
        like: "Layout | None" = None,
    ) -> None:  # fmt: skip
        self.plan, self.placed, self.reverse, self.inputs = plan, placed, reverse, inputs
        self.scratch = Scratch(lanes, placed.top)
        self.place = dict(placed.place)
        self.used: dict[Buffer, None] = {}
        self.vectors: dict[Node, Buffer] = {} if like is None else like.vectors
        self.tables: dict[Node, Buffer] = {} if like is None else like.tables

    @property
    def lanes(self) -> int:
        return self.scratch.lanes

    def targets(self, n: Node) -> list[Target]:
        """Where a row is stored."""
        return [*self.placed.stores.get(n, ()), *([self.place[n]] if n in self.place else [])]

    def use(self, buffer: Buffer) -> None:
        self.used[buffer] = None

    def base(self, n: Node) -> Target:
        """Where a row lies; a node that lies nowhere yet gets room in the scratch."""
        if n.op == "slice":
            whole = self.base(n.args[0])
            return Target(whole.buffer, whole.at + n.attr)
        if n.op == "view":
            return self._view(n)
        target = self._leaf(n) or self.place.get(n)
        if target is None:
            target = self.place[n] = Target(SCRATCH, self.scratch.take(n.width))
        self.use(target.buffer)
        return target

    def _view(self, n: Node) -> Target:
        whole, (starts, steps), inner = self.base(n.args[0]), n.attr, strides_of(n.args[0].shape)
        at = whole.at + sum(start * stride for start, stride in zip(starts, inner, strict=True))
        return Target(whole.buffer, at, tuple(0 if s is None else inner[s[0]] * s[1] for s in steps))

    def _leaf(self, n: Node) -> Target | None:
        match n.op:
            case "in":
                kind, number = n.attr
                return Target(self.plan.history[number] if kind == "after" else Buffer(KINDS[kind], number), 0)
            case "saved":
                return Target(SAVED, n.attr)
            case "lookup":
                self.use(Buffer(Kind.DRIVE, n.attr[0]))
                return Target(self.tables.setdefault(n, Buffer(Kind.TABLE, len(self.tables))), 0)
            case "vector":
                return Target(self.vectors.setdefault(n, Buffer(Kind.VECTOR, len(self.vectors))), 0)
        return None

    def row(self, buffer: Buffer) -> Expr:
        """Where row r of the batch begins."""
        for n, table in self.tables.items():
            if buffer == table:
                ids = Buffer(Kind.DRIVE, n.attr[0])
                return offset(Base(table), ToInt(Load(Base(ids), ROW * self.stride(ids))) * n.width)
        stride = self.stride(buffer)
        return Base(buffer) if stride == Int(0) else offset(Base(buffer), ROW * stride)

    def stride(self, buffer: Buffer) -> Expr:
        """How far a row of the batch is from the next one."""
        if buffer.kind is Kind.STATE and self.reverse:
            return RowStride(buffer)
        if buffer.kind.extent is Extent.SCRATCH or buffer in self.plan.held:
            return LD
        if buffer in self.inputs:
            return PART * self.scratch.whole(self.plan.sequences[buffer])
        if buffer in self.plan.sequences:
            return STEPS * self.plan.sequences[buffer]
        return expr(self.plan.sums if buffer == SUMS else 0)
