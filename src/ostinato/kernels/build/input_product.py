"""Leaves of the drive that are products with the input, x W + b, made for some steps at once as they are wanted."""

from collections.abc import Mapping

from ..ir.buffers import SCRATCH, Buffer, Kind
from ..ir.expressions import Base, Binary, Int, Type, Var, offset
from ..ir.loops import Assign, Copy, For, If, Matrix, Multiply, Statement
from .fused_loop import ROWS
from .layout import LD, PART, ROW, STEPS, Layout

TOGETHER = 96  # rows of x, a row of the batch and a step each, that are multiplied at once
MOST, FREE = Var("most"), Var("free", Type.POINTER)
STEP, ROW0 = Var("t"), Var("b")


class InputProducts:
    """The statements that make them; none where there are none.

    Args:
        features: of x, by the number of each leaf.
    """

    def __init__(self, features: Mapping[int, int], layout: Layout) -> None:
        self.layout = layout
        self.leaves = [(i, n, layout.plan.sequences[Buffer(Kind.DRIVE, i)]) for i, n in features.items()]

    def arrays(self) -> list[Buffer]:
        kinds = (Kind.INPUT, Kind.INPUT_MATRIX, Kind.INPUT_BIAS)
        return [Buffer(kind, i) for i, *_ in self.leaves for kind in kinds]

    def room(self) -> int:
        """Numbers of scratch for a row of x and of its products."""
        whole = self.layout.scratch.whole
        return sum(whole(features) + whole(width) for _, features, width in self.leaves)

    def each_block(self) -> list[Statement]:
        """Room behind that of the block's rows."""
        if not self.leaves:
            return []
        at_once = Binary("max", Int(1), Binary("//", Int(TOGETHER), Var("rows")))
        found: list[Statement] = [
            Assign(MOST, at_once), Assign(PART, Int(0)), Assign(FREE, offset(Base(SCRATCH), Var("block") * LD))
        ]  # fmt: skip
        for i, features, width in self.leaves:
            for kind, numbers in ((Kind.INPUT_ROWS, features), (Kind.INPUT_PRODUCT, width)):
                room = (Var("block") + TOGETHER) * self.layout.scratch.whole(numbers)
                found += [Assign(Base(Buffer(kind, i)), FREE), Assign(FREE, offset(FREE, room))]
        return found

    def each_step(self) -> list[Statement]:
        """Some steps of all leaves where the last ones have been read, and pointers to this one."""
        if not self.leaves:
            return []
        part: list[Statement] = [Assign(PART, Binary("min", MOST, STEPS - STEP))]
        for leaf in self.leaves:
            part += self._product(*leaf)
        here = []
        for i, _, width in self.leaves:
            products = Base(Buffer(Kind.INPUT_PRODUCT, i))
            here.append(Assign(Base(Buffer(Kind.DRIVE, i)), offset(products, STEP % MOST * self._ld(width))))
        return [If((STEP % MOST).is_("==", 0), tuple(part)), *here]

    def _ld(self, width: int) -> int:
        return self.layout.scratch.whole(width)

    def _product(self, i: int, features: int, width: int) -> list[Statement]:
        def base(kind: Kind) -> Base:
            return Base(Buffer(kind, i))

        D = Int(features)
        x = Matrix(offset(base(Kind.INPUT), ((ROW0 + ROW) * STEPS + STEP) * D), D)
        rows, out = base(Kind.INPUT_ROWS), Matrix(base(Kind.INPUT_PRODUCT), Int(self._ld(width)))
        count = ROWS * PART
        return [
            For(ROW, ROWS, (Copy(PART, D, x, Matrix(offset(rows, ROW * PART * D), D)),)),
            Copy(count, Int(width), Matrix(base(Kind.INPUT_BIAS), Int(0)), out),
            Multiply(count, Int(width), D, Matrix(rows, D), base(Kind.INPUT_MATRIX), out, adds=True),
        ]
