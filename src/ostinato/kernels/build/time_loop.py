"""The loops around the stages: blocks of rows, time steps, rows that end, rows that begin anew.

A job is a range of rows of the batch, which it takes in blocks through all time steps; nothing waits for another row.
The states of a block lie in the scratch, in two slots that alternate: the new one is written while the old is read.

    for each block of rows
        for each step                              backward: from the last
            rows that have ended drop out          backward: rows come in at their end
            rows that begin anew take the initial state
            the stages

Rows with lengths are sorted, the longest first: so the rows that are still read are the first ones of their block.

A leaf of the drive that is a product with the input, x W + b, is never held for all steps: forward makes it for some
steps of the rows that are still read, and reads it from the cache (`input_product.py`).

Arrays besides those of the plan: weights, packed matrices, and [B, width] of each state: forward reads what each starts
from and what a reset returns to, and writes the last one; backward reads the gradients of the last and both of these,
writes the gradient of the first, and adds to that of the initial one and to the sums.
"""

from collections.abc import Sequence

from ..ir.buffers import SCRATCH, SUMS, Buffer, Extent, Kind
from ..ir.expressions import (
    Address,
    Base,
    Binary,
    Choice,
    Expr,
    Float,
    Int,
    Load,
    Num,
    Parameter,
    RowStride,
    Var,
    expr,
    offset,
)  # fmt: skip
from ..ir.loops import Assign, Body, Break, Continue, Copy, For, If, Increase, Matrix, Statement, Store, While
from .fused_loop import ROWS
from .input_product import InputProducts
from .layout import LD, ROW, STEPS, Layout

# What a kernel takes before the addresses of its arrays; 0 for an address: there is none.
HEAD = tuple(map(Var, ("T", "b0", "b1", "block", "multiply", "S", "lengths", "resets")))
FIRST, END, BLOCK, LENGTHS, RESETS = HEAD[1], HEAD[2], HEAD[3], HEAD[6], HEAD[7]
STEP, ROW0, COUNT, ODD = Var("t"), Var("b"), Var("rows"), Var("odd")  # a step, a block's first row, its rows


class TimeLoop:
    """The loops of one direction around the stages that `layout` was asked for."""

    def __init__(self, layout: Layout, checks: bool = False) -> None:
        self.layout, self.plan, self.reverse = layout, layout.plan, layout.reverse
        self.widths = list(enumerate(self.plan.state_widths))
        self.checks = checks  # whether the state before each segment is kept
        # Whose value before the step the backward stages read, and room for it where rows begin anew.
        self.before = [i for i, _ in self.widths if self.reverse and Buffer(Kind.STATE, i) in layout.used]
        self.room = {i: layout.scratch.take(self.plan.state_widths[i]) for i in self.before}
        inside = {} if self.reverse else layout.inputs
        self.inside = InputProducts({leaf.number: n for leaf, n in inside.items()}, layout)
        used = [b for b in layout.used if b.kind.extent is not Extent.SCRATCH and b not in layout.inputs]
        used = [b for b in used if b not in self.plan.held]
        self.series = [b for b in used if b in self.plan.sequences]
        late = dict.fromkeys(self.plan.history[i] for i in self.before)
        self.series += [h for h in late if h not in self.series and h not in self.plan.held]
        self.flat = [b for b in used if b not in self.plan.sequences]

    def arrays(self) -> tuple[Buffer, ...]:
        """What the kernel takes, in order."""
        ends = (Kind.START, Kind.LAST, Kind.INITIAL)
        if self.reverse:
            ends = (Kind.LAST_GRADIENT, Kind.START_GRADIENT, Kind.START, Kind.INITIAL, Kind.INITIAL_GRADIENT)
        states = [Buffer(kind, i) for i, _ in self.widths for kind in ends]
        checks = [Buffer(Kind.CHECKPOINT, i) for i, _ in self.widths] if self.checks else []
        return (*self.series, *self.flat, *states, *checks, *self.inside.arrays())

    def body(self, stages: Body, room: int) -> Body:
        """The kernel's body.

        Args:
            room: numbers of scratch of a row.
        """
        flat = [a for a in self.arrays() if a not in self.series and a != SUMS]
        block: list[Statement] = [Assign(COUNT, Binary("min", BLOCK, END - ROW0))]
        if SUMS in self.flat:
            block.append(Assign(Base(SUMS), offset(Address(Parameter(SUMS)), ROW0 * self.plan.sums)))
        block += self._backward(stages) if self.reverse else self._forward(stages)
        return (
            Assign(LD, Int(room)),
            Assign(Base(SCRATCH), Address(HEAD[5])),
            *(Assign(Base(a), Address(Parameter(a))) for a in flat),
            For(ROW0, END, tuple(block), FIRST, BLOCK),
        )

    def _forward(self, stages: Body) -> list[Statement]:
        ended = [
            Copy(Int(1), Int(w), self._state(i, ROWS), _ends(Kind.LAST, i, w, ROW0 + ROWS)) for i, w in self.widths
        ]
        last = Load(Address(LENGTHS), ROW0 + ROWS - 1)
        drop = While(Binary("and", ROWS.is_(">", 0), last.is_("<=", STEP)), (Increase(ROWS, -1), *ended))
        steps = [
            *self._slots(STEP),
            If(LENGTHS.is_("!=", 0), (drop, If(ROWS.is_("==", 0), (Break(),)))),
            *self._checkpoint(),
            if_reset([self._anew(i, w) for i, w in self.widths]),
            *self.inside.each_step(),
            *self._this_step(),
            *stages,
        ]
        return [
            Assign(ROWS, COUNT),
            *(Copy(ROWS, Int(w), _ends(Kind.START, i, w, ROW0), self._first_slot(i)) for i, w in self.widths),
            *self.inside.each_block(),
            For(STEP, STEPS, tuple(steps)),
            *(Copy(ROWS, Int(w), self._last_slot(i), _ends(Kind.LAST, i, w, ROW0)) for i, w in self.widths),
        ]

    def _checkpoint(self) -> list[Statement]:
        """Keeps the states before a segment's first step."""
        if not self.checks:
            return []
        kept = [Copy(ROWS, Int(w), self._state(i, Int(0)), self.check(i, w, STEP)) for i, w in self.widths]
        return [If(Binary("%", STEP, Int(self.plan.segment)).is_("==", 0), tuple(kept))]

    def check(self, i: int, w: int, first: Expr) -> Matrix:
        """The block's rows of a state, as it was before the segment of a first step."""
        size = self.plan.segment
        segments = Binary("//", STEPS + (size - 1), Int(size))
        at = (ROW0 * segments + Binary("//", first, Int(size))) * w
        return Matrix(offset(Base(Buffer(Kind.CHECKPOINT, i)), at), segments * w)

    def _backward(self, stages: Body) -> list[Statement]:
        begin, ends = self._around_backward()
        return [*begin, For(STEP, Int(-1), self._backward_step(stages), STEPS - 1, Int(-1)), *ends]

    def _backward_step(self, stages: Body) -> Body:
        gradient = Kind.LAST_GRADIENT
        begun = [Copy(Int(1), Int(w), _ends(gradient, i, w, ROW0 + ROWS), self._state(i, ROWS)) for i, w in self.widths]
        come = While(
            Binary("and", ROWS.is_("<", COUNT), Load(Address(LENGTHS), ROW0 + ROWS).is_(">", STEP)),
            (*begun, Increase(ROWS, 1)),
        )
        return (
            *self._slots(STEPS - 1 - STEP),
            If(LENGTHS.is_("!=", 0), (come, If(ROWS.is_("==", 0), (Continue(),)))),
            *self._this_step(),
            *(statement for i in self.before for statement in self._state_before(i)),
            *stages,
            # What came from the initial state owes its gradient there.
            if_reset([_owed(i, w) for i, w in self.widths]),
        )

    def _around_backward(self) -> tuple[list[Statement], list[Statement]]:
        """What comes before all steps, and after them."""
        gradient, to = Kind.LAST_GRADIENT, Kind.START_GRADIENT
        ends: list[Statement] = []
        for i, w in self.widths:
            ends.append(Copy(ROWS, Int(w), self._last_slot(i), _ends(to, i, w, ROW0)))
            ends.append(Copy(COUNT - ROWS, Int(w), _ends(gradient, i, w, ROW0 + ROWS), _ends(to, i, w, ROW0 + ROWS)))
        begin = [Copy(ROWS, Int(w), _ends(gradient, i, w, ROW0), self._first_slot(i)) for i, w in self.widths]
        return [Assign(ROWS, Choice(LENGTHS.is_("==", 0), COUNT, Int(0))), *begin], ends

    def _slots(self, number: Binary | Var) -> list[Statement]:
        """Where the states lie in this step, and where the next ones go."""
        kind = Kind.STATE_GRADIENT if self.reverse else Kind.STATE
        found: list[Statement] = [Assign(ODD, number & 1)]
        for i, _ in self.widths:
            x, y = self.layout.placed.slots[i]
            found.append(Assign(Base(Buffer(kind, i)), scratch(Choice(ODD, Int(y), Int(x)))))
            found.append(Assign(Base(Buffer(Kind.NEXT, i)), scratch(Choice(ODD, Int(x), Int(y)))))
        return found

    def _first_slot(self, i: int) -> Matrix:
        return Matrix(scratch(self.layout.placed.slots[i][0]), LD)

    def _last_slot(self, i: int) -> Matrix:
        x, y = self.layout.placed.slots[i]
        return Matrix(scratch(Choice(STEPS & 1, Int(y), Int(x))), LD)

    def _this_step(self) -> list[Statement]:
        """Pointers to this step of the arrays over time."""
        return self._pointers(self.series)

    def _pointers(self, series: Sequence[Buffer]) -> list[Statement]:
        at = ROW0 * STEPS + STEP
        sizes = self.plan.sequences
        return [Assign(Base(b), offset(Address(Parameter(b)), at * sizes[b])) for b in series]

    def _state(self, i: int, row: Var | Int) -> Matrix:
        """A row of a state, or of its gradient, as it is before the step."""
        kind = Kind.STATE_GRADIENT if self.reverse else Kind.STATE
        return Matrix(offset(Base(Buffer(kind, i)), row * LD), LD)

    def _state_before(self, i: int) -> list[Statement]:
        """The state before the step: after the one before it, at the start, or the initial one."""
        w, state = self.plan.state_widths[i], Buffer(Kind.STATE, i)
        pointer, stride = self._past(i, w)
        held = scratch(self.room[i])
        return [
            Assign(Base(state), pointer),
            Assign(RowStride(state), stride),
            If(RESETS.is_("!=", 0), (
                Copy(ROWS, Int(w), Matrix(Base(state), RowStride(state)), Matrix(held, LD)),
                Assign(Base(state), held),
                Assign(RowStride(state), LD),
            )),
            if_reset([self._anew(i, w)]),
        ]  # fmt: skip

    def _past(self, i: int, w: int) -> tuple[Expr, Expr]:
        """Where the block's rows of a state lie as they were after the step before, and how far apart."""
        first = STEP.is_("==", 0)
        start = offset(Base(Buffer(Kind.START, i)), ROW0 * w)
        past = offset(Address(Parameter(self.plan.history[i])), (ROW0 * STEPS + STEP - 1) * w)
        return Choice(first, start, past), Choice(first, Int(w), STEPS * w)

    @staticmethod
    def _anew(i: int, w: int) -> Statement:
        state = Matrix(offset(Base(Buffer(Kind.STATE, i)), ROW * LD), LD)
        return Copy(Int(1), Int(w), _ends(Kind.INITIAL, i, w, ROW0 + ROW), state)


def scratch(at: Expr | int) -> Expr:
    return offset(Base(SCRATCH), at)


def _ends(kind: Kind, i: int, width: int, row: Var | Binary) -> Matrix:
    """Rows of an array [B, width] from one of the batch on."""
    return Matrix(offset(Base(Buffer(kind, i)), row * width), expr(width))


def if_reset(body: list[Statement]) -> Statement:
    """What is done for each row that begins anew in this step."""
    marked = Load(Address(RESETS), (ROW0 + ROW) * STEPS + STEP).is_("!=", 0)
    return If(RESETS.is_("!=", 0), (For(ROW, ROWS, (If(marked, tuple(body)),)),))


def _owed(i: int, w: int) -> Statement:
    """Moves a row's gradient of the state to that of the initial state."""
    place, k = Var("j"), Var("k")
    initial, new = Base(Buffer(Kind.INITIAL_GRADIENT, i)), Base(Buffer(Kind.NEXT, i))
    at = ROW * LD + place
    return For(place, Int(w), (
        Assign(k, (ROW0 + ROW) * w + place),
        Store(initial, k, Load(initial, k) + Load(new, at)),
        Store(new, at, Num(Float(0.0))),
    ))  # fmt: skip
