"""Backward by segments of steps: each is computed again from the state before it, and then passed backwards.

What forward would keep of every step lies in the scratch, of a segment's steps alone.
"""

from typing import NamedTuple

from ..ir.buffers import Buffer, Kind
from ..ir.expressions import Address, Base, Binary, Choice, Expr, Int, Load, Var
from ..ir.loops import Assign, Body, Break, Copy, For, If, Increase, Matrix, Statement, While
from .fused_loop import ROWS
from .layout import LD, STEPS, Layout
from .time_loop import COUNT, LENGTHS, ODD, RESETS, ROW0, STEP, TimeLoop, if_reset, scratch

FIRST, END, ALIVE = Var("s"), Var("e"), Var("alive")  # of a segment's steps; rows that backward has come to


class Stages(NamedTuple):
    """Forward inside backward."""

    layout: Layout
    body: Body


class SegmentLoop(TimeLoop):
    """The loops of backward around its stages and those of forward."""

    def __init__(self, layout: Layout, again: Stages) -> None:
        super().__init__(layout)
        self.again, self.checks = again, True
        # Of a state one more: what it is before the segment.
        self.before_first = {b: w if b.kind is Kind.HISTORY else 0 for b, w in self.plan.held.items()}
        self.places = {
            b: layout.scratch.take(w * self.plan.segment + self.before_first[b]) for b, w in self.plan.held.items()
        }
        self.held_states = {i: self.places[h] for i, h in self.plan.history.items() if h in self.places}
        own = TimeLoop(again.layout)
        self.series_again = own.series
        self.series += [b for b in own.series if b not in self.series]
        self.flat += [b for b in own.flat if b not in self.flat]

    def _backward(self, stages: Body) -> list[Statement]:
        begin, ends = self._around_backward()
        size = Int(self.plan.segment)
        body: list[Statement] = [
            Assign(END, Binary("min", STEPS, FIRST + size)),
            Assign(ALIVE, ROWS),
            *self._compute_again(),
            Assign(ROWS, ALIVE),
            For(STEP, FIRST - 1, self._backward_step(stages), END - 1, Int(-1)),
        ]
        last = Binary("//", STEPS - 1, size) * size
        return [*begin, For(FIRST, Int(-1), tuple(body), last, Int(-self.plan.segment)), *ends]

    def _compute_again(self) -> list[Statement]:
        slots = self.again.layout.placed.slots
        odd = Binary("&", STEP - FIRST, Int(1))
        steps: list[Statement] = [Assign(ODD, odd)]
        aside: list[Statement] = []
        for i, w in self.widths:
            state, (x, y) = Base(Buffer(Kind.STATE, i)), slots[i]
            if i in self.held_states:
                steps.append(Assign(state, self._before(i, w)))
                aside += [Copy(ROWS, Int(w), Matrix(state, LD), Matrix(scratch(x), LD)), Assign(state, scratch(x))]
            else:
                steps.append(Assign(state, scratch(Choice(ODD, Int(y), Int(x)))))
                steps.append(Assign(Base(Buffer(Kind.NEXT, i)), scratch(Choice(ODD, Int(x), Int(y)))))
        ended = Load(Address(LENGTHS), ROW0 + ROWS - 1).is_("<=", STEP)
        drop = While(Binary("and", ROWS.is_(">", 0), ended), (Increase(ROWS, -1),))
        steps += [
            If(LENGTHS.is_("!=", 0), (drop, If(ROWS.is_("==", 0), (Break(),)))),
            # What is held of the step before stays what it was.
            *([If(RESETS.is_("!=", 0), tuple(aside))] if aside else []),
            if_reset([self._anew(i, w) for i, w in self.widths]),
            *self._pointers(self.series_again),
            *self._held_pointers(),
            *self.again.body,
        ]
        places = [self.held_states.get(i, slots[i][0]) for i, _ in self.widths]
        start = [Copy(COUNT, Int(w), self.check(i, w, FIRST), Matrix(scratch(places[i]), LD)) for i, w in self.widths]
        return [Assign(ROWS, COUNT), *start, For(STEP, END, tuple(steps), FIRST)]

    def _this_step(self) -> list[Statement]:
        return [*super()._this_step(), *self._held_pointers()]

    def _held_pointers(self) -> list[Statement]:
        """Pointers to this step of what is kept of a segment."""
        held = self.plan.held
        return [
            Assign(Base(b), scratch((STEP - FIRST) * held[b] + at + self.before_first[b]))
            for b, at in self.places.items()
        ]

    def _past(self, i: int, w: int) -> tuple[Expr, Expr]:
        return (self._before(i, w), LD) if i in self.held_states else super()._past(i, w)

    def _before(self, i: int, w: int) -> Expr:
        """Where the block's rows of a held state lie as they were before the step."""
        return scratch((STEP - FIRST) * w + self.held_states[i])
