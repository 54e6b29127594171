"""A product with a packed matrix as a stage."""

from ..ir.buffers import Buffer
from ..ir.expressions import Base, Int, Row, offset
from ..ir.graph import Node
from ..ir.loops import Assign, For, Matrix, Multiply, Statement
from ..passes.plan import Plan
from .fused_loop import ROWS
from .layout import ROW, Layout


def rows_of(plan: Plan, n: Node) -> int:
    """How many rows each row of the batch has in a product."""
    return n.width // plan.reading.matrices[n.attr].meta["val"].shape[1]


def multiply(layout: Layout, n: Node, packed: Buffer) -> Statement:
    """The product of the block's rows with a matrix; of several rows each, row of the batch by row."""
    factor = n.args[0]
    a, c = layout.base(factor), layout.base(n)
    layout.use(packed)
    rows = rows_of(layout.plan, n)
    columns = n.width // rows
    if rows == 1:
        sides = [Matrix(offset(Base(t.buffer), t.at), layout.stride(t.buffer)) for t in (a, c)]
        return Multiply(ROWS, Int(n.width), Int(factor.width), sides[0], Base(packed), sides[1])
    depth = factor.width // rows
    sides = [Matrix(offset(Row(t.buffer), t.at), Int(width)) for t, width in ((a, depth), (c, columns))]
    pointers = [Assign(Row(buffer), layout.row(buffer)) for buffer in dict.fromkeys((a.buffer, c.buffer))]
    product = Multiply(Int(rows), Int(columns), Int(depth), sides[0], Base(packed), sides[1], exact=True)
    return For(ROW, ROWS, (*pointers, product))
