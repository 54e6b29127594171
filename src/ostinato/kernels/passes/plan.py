"""What a scan of a lowered step reads and writes: arrays over all steps, and what backward needs of forward.

`ir/buffers.py` says what the arrays are. A root is a node and the target where its row is stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from ..ir.buffers import OUT, OUT_GRADIENT, SAVED, SUMS, Buffer, Kind, Target
from ..ir.graph import Graph, Node, Value, ancestors, offsets, width_of
from ..ir.ops import EXPENSIVE, LEAVES, POINTWISE, REDUCTIONS
from ..lower.step_graph import StepGraph, Total

Root = tuple[Node, Target]
MUCH = 2  # times as many numbers a step as all drives, outputs and their gradients: then forward keeps few steps
SEGMENT = 1 << 18  # numbers of a segment: what a core reads again soon enough from its share of the last cache


@dataclass(frozen=True)
class Factor:
    """One side of a matrix's gradient: columns of an array over time; `before`: of a state, so one step late."""

    array: Buffer
    at: int
    width: int
    before: bool = False


@dataclass(frozen=True)
class Plan:
    """One lowered step, forward and backward."""

    reading: StepGraph
    sequences: Mapping[Buffer, int]  # arrays over time -> width
    forward: tuple[Root, ...]
    backward: tuple[Root, ...]
    products: tuple[tuple[fx.Node, Factor, Factor, int], ...]  # and how many rows each row of the batch has there
    totals: tuple[tuple[Total, int, int], ...]  # (gradient, offset in the sums, width)
    history: Mapping[int, Buffer]  # state -> array that holds it after each step
    forward_arrays: tuple[Buffer, ...]  # written by forward, read by backward
    # Steps of which backward computes the forward values again, from the state before the first; 0: all are kept.
    segment: int = 0
    held: Mapping[Buffer, int] = field(default_factory=dict)  # what is kept of a segment's steps alone -> width

    @property
    def state_widths(self) -> list[int]:
        return [width_of(value) for value in self.reading.new_state]

    @property
    def drive_widths(self) -> list[int]:
        return [width_of(value) for value in self.reading.ddrive]

    def size_of(self, array: Buffer, rows: int, steps: Any) -> tuple[Any, ...]:
        """The sizes of an array that a direction makes, for so many rows of the batch and steps."""
        if array.kind is Kind.CHECKPOINT:
            return rows, -(-steps // self.segment), self.state_widths[array.number]
        return rows, steps, self.sequences[array]

    @property
    def sums(self) -> int:
        return sum(width for _, _, width in self.totals)

    def roots(self, direction: str) -> list[Root]:
        """What a direction stores: "inference" is forward that keeps nothing, "again" forward inside backward."""
        if direction == "inference":
            return [(n, target) for n, target in self.forward if target.buffer.kind in (Kind.OUT, Kind.NEXT)]
        if direction == "again":
            nexts = [Buffer(Kind.NEXT, i) for i in self.history if self.history[i] not in self.held]
            return [(n, t) for n, t in self.forward if t.buffer in nexts or t.buffer in self.held]
        if direction == "forward":
            return [(n, target) for n, target in self.forward if target.buffer not in self.held]
        return list(self.backward if direction == "backward" else self.forward)

    def read_by_backward(self, array: Buffer) -> bool:
        """Whether backward, or a gradient of a matrix, wants an array that comes from outside."""
        if self.segment and array.kind is Kind.DRIVE:
            return True
        nodes = ancestors(node for node, _ in self.backward)
        factors = {factor.array for _, *pair, _ in self.products for factor in pair}
        return array in factors or any(n.op == "in" and n.attr == (array.kind.label, array.number) for n in nodes)


def plan(reading: StepGraph) -> Plan:
    """Decides what forward keeps: expensive values are saved, cheap ones are computed again."""
    planner = _Planner(_Reread.of(reading))
    planner.store_results(reading)
    products = tuple((p.node, planner.factor(p.left), planner.factor(p.right), p.rows) for p in reading.products)
    totals = tuple(planner.store_totals(reading))
    history = planner.store_states(reading)
    reread = planner.reread
    planner.forward += [(node, Target(SAVED, at)) for node, at in reread.saved.items()]
    if reread.saved_width:
        planner.sequences[SAVED] = reread.saved_width
    late = {target.buffer for _, target in planner.backward}
    kept = [array for array in planner.sequences if array.kind is Kind.KEPT and array not in late]
    factors = [factor.array for _, *pair, _ in products for factor in pair if factor.array == OUT]
    arrays = [*dict.fromkeys([*(history[i] for i in sorted(reread.before)), *factors]), *kept]
    arrays += [SAVED][: reread.saved_width]
    held = _held(reading, planner.sequences, products, history)
    if held:
        checks = [Buffer(Kind.CHECKPOINT, i) for i in range(len(reading.new_state))]
        arrays = [*(array for array in arrays if array not in held), *checks]
    sequences = {array: width for array, width in planner.sequences.items() if array not in held}
    segment = min(64, max(4, SEGMENT // sum(held.values()))) if held else 0
    return Plan(
        reading, sequences, tuple(planner.forward), tuple(planner.backward), products, totals, history, tuple(arrays),
        segment, held,
    )  # fmt: skip


def _held(
    reading: StepGraph, sequences: Mapping[Buffer, int], products: Iterable[Any], history: Mapping[int, Buffer]
) -> dict[Buffer, int]:
    """What forward would keep of every step, where that is much more than all that goes in and out."""
    late = {history[f.array.number] for _, *pair, _ in products for f in pair if f.before}
    kept = {a: w for a, w in sequences.items() if a.kind in (Kind.HISTORY, Kind.SAVED)}
    others = sum(w for a, w in sequences.items() if a not in kept)
    return kept if sum(kept.values()) > MUCH * others and not late & set(kept) else {}


def side_by_side(value: Value, stores: Mapping[Node, Iterable[Target]]) -> Target | None:
    """Where the parts of a value are stored one behind the other, if they are."""
    for first in stores.get(value[0], ()):
        if all(Target(first.buffer, first.at + at) in stores.get(node, ()) for node, at in offsets(value)):
            return first
    return None


@dataclass
class _Reread:
    """Nodes of backward in terms of what will be there then."""

    graph: Graph
    after: dict[Node, int]  # what is a whole state after the step -> its number
    before: set[int]  # the states whose value before the step backward needs
    saved: dict[Node, int] = field(default_factory=dict)  # -> where it begins among what is saved
    saved_width: int = 0
    known: dict[Node, Node] = field(default_factory=dict)

    @classmethod
    def of(cls, r: StepGraph) -> "_Reread":
        after = {v[0]: i for i, v in enumerate(r.new_state) if len(v) == 1 and v[0].op not in LEAVES}
        factors = [(n,) for p in r.products for n in (p.left, p.right)]
        values = [*r.ddrive, *r.dstate, *factors, *(t.value for t in r.totals)]
        nodes = ancestors(n for value in values for n in value)
        return cls(r.graph, after, {n.attr[1] for n in nodes if n.op == "in" and n.attr[0] == "state"})

    def __call__(self, n: Node) -> Node:
        if n not in self.known:
            self.known[n] = self._read_or_compute(n)
        return self.known[n]

    def _read_or_compute(self, n: Node) -> Node:
        if n.op in LEAVES:
            return n
        if not n.backward:
            if self._is_state_after(n):
                return self.graph.node("in", (), n.shape, ("after", self.after[n]))
            piece = n.op == "slice" and n.args[0].op == "mm"
            expensive = n.op in EXPENSIVE and (n.width > 1 or n.op in REDUCTIONS)
            if piece or (expensive and not (n.op in POINTWISE and all(map(self._at_hand, n.args)))):
                self.saved[n], self.saved_width = self.saved_width, self.saved_width + n.width
                return self.graph.node("saved", (), n.shape, self.saved[n])
        return self.graph.rebuilt(n, [self(a) for a in n.args])

    def _is_state_after(self, n: Node) -> bool:
        return n in self.after and self.after[n] in self.before

    def _at_hand(self, n: Node) -> bool:
        """Whether backward has the row anyway: to compute one function of it again costs less than to keep that."""
        return n.op == "const" or (n.op == "in" and n.attr[0] == "state") or self._is_state_after(n)


@dataclass
class _Planner:
    """What the plan holds so far."""

    reread: _Reread
    sequences: dict[Buffer, int] = field(default_factory=dict)
    forward: list[Root] = field(default_factory=list)
    backward: list[Root] = field(default_factory=list)

    def store_results(self, r: StepGraph) -> None:
        """The output, the states and their gradients."""
        for kind in (Kind.DRIVE, Kind.DRIVE_GRADIENT):
            self.sequences |= {Buffer(kind, i): width_of(value) for i, value in enumerate(r.ddrive)}
        self.sequences |= dict.fromkeys((OUT, OUT_GRADIENT), width_of(r.out))
        self.forward += _stored(OUT, r.out)
        for i, value in enumerate(r.new_state):
            self.forward += _stored(Buffer(Kind.NEXT, i), value)
        for kind, values in ((Kind.DRIVE_GRADIENT, r.ddrive), (Kind.NEXT, r.dstate)):
            for i, value in enumerate(values):
                self.backward += [(self.reread(node), target) for node, target in _stored(Buffer(kind, i), value)]

    def factor(self, n: Node) -> Factor:
        """A side of a matrix's gradient: where it lies anyway, or else in an array of its own."""
        if n.op == "in" and n.attr[0] in ("state", "drive"):
            kind, number = n.attr
            return Factor(Buffer(Kind.STATE if kind == "state" else Kind.DRIVE, number), 0, n.width, kind == "state")
        roots = self.backward if n.backward else self.forward
        parts = n.args if n.op == "cat" else (n,)
        value = tuple(self.reread(part) for part in parts) if n.backward else parts
        stores: dict[Node, list[Target]] = {}
        for node, target in roots:
            if target.buffer in self.sequences:
                stores.setdefault(node, []).append(target)
        lies = side_by_side(value, stores)
        if lies is None:
            lies = Target(Buffer(Kind.KEPT, sum(array.kind is Kind.KEPT for array in self.sequences)), 0)
            self.sequences[lies.buffer] = n.width
            roots += _stored(lies.buffer, value)
        return Factor(lies.buffer, lies.at, n.width)

    def store_totals(self, r: StepGraph) -> Iterable[tuple[Total, int, int]]:
        """Gradients of vectors, side by side in the sums."""
        at = 0
        for total in r.totals:
            for node, offset in offsets(total.value):
                # A copy, so that one row summed for two weights is stored twice.
                target = Target(SUMS, at + offset)
                self.backward.append((r.graph.node("copy", (self.reread(node),), node.shape, target), target))
            width = width_of(total.value)
            yield total, at, width
            at += width

    def store_states(self, r: StepGraph) -> dict[int, Buffer]:
        """The states that backward reads, each after the step, where they are no output."""
        history = {i: OUT for i, value in enumerate(r.new_state) if value == r.out}
        for i in sorted(self.reread.before):
            if i not in history:
                history[i] = Buffer(Kind.HISTORY, i)
                self.sequences[history[i]] = width_of(r.new_state[i])
                self.forward += _stored(history[i], r.new_state[i])
        return history


def _stored(buffer: Buffer, value: Value) -> list[Root]:
    return [(node, Target(buffer, at)) for node, at in offsets(value)]
