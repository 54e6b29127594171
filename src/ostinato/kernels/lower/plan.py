"""What a scan of a lowered step reads and writes: arrays over all steps, and what backward needs of forward.

Arrays over time are [B, T, width]; their names are those of the emitted source:

    drive0, ...     what drives the step          ddrive0, ...   its gradient
    out             the output                    cot            its gradient
    hist0, ...      a state after each step, where it is no output and backward needs it
    saved           dear values of forward, side by side, for backward
    kept0, ...      a factor of a matrix's gradient that nothing else holds

A target is (base, offset): where a row is stored. "next0" is the state after the step, or its gradient before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import fx

from .ir import LEAVES, POINTWISE, REDUCTIONS, Node, Value, ancestors, offsets, width_of
from .reading import Reading

DEAR = (
    frozenset(("sigmoid", "tanh", "exp", "expm1", "log", "erf", "sin", "cos", "atan", "pow", "div", "sqrt", "mm"))
    | REDUCTIONS
)
Target = tuple[str, int]
Root = tuple[Node, Target]


@dataclass
class Factor:
    """One side of a matrix's gradient: columns of an array over time; `before`: of a state, so one step late."""

    array: str
    at: int
    width: int
    before: bool = False


@dataclass
class Plan:
    """One lowered step, forward and backward."""

    reading: Reading
    sequences: dict[str, int] = field(default_factory=dict)  # array over time -> width
    forward: list[Root] = field(default_factory=list)
    backward: list[Root] = field(default_factory=list)
    products: list[tuple[fx.Node, Factor, Factor]] = field(default_factory=list)
    totals: list[tuple[fx.Node, int, int]] = field(default_factory=list)  # (gradient, offset in "sums", width)
    history: dict[int, str] = field(default_factory=dict)  # state -> array that holds it after each step
    forward_arrays: list[str] = field(default_factory=list)  # written by forward, read by backward

    @property
    def state_widths(self) -> list[int]:
        return [width_of(value) for value in self.reading.new_state]

    @property
    def drive_widths(self) -> list[int]:
        return [width_of(value) for value in self.reading.ddrive]

    @property
    def sums(self) -> int:
        return sum(width for _, _, width in self.totals)


def plan(reading: Reading) -> Plan:
    """Decides what forward keeps: dear values are saved, cheap ones are computed again."""
    return _Planner(reading).plan


def side_by_side(value: Value, stores: Mapping[Node, list[Target]]) -> Target | None:
    """Where the parts of a value are stored one behind the other, if they are."""
    for base, start in stores.get(value[0], ()):
        if all((base, start + at) in stores.get(node, ()) for node, at in offsets(value)):
            return base, start
    return None


class _Planner:
    def __init__(self, reading: Reading) -> None:
        self.reading, self.graph = reading, reading.graph
        self.plan = plan = Plan(reading)
        self.saved: dict[Node, int] = {}
        self.saved_width = 0
        self.met: dict[Node, Node] = {}
        plan.sequences |= {f"drive{i}": w for i, w in enumerate(plan.drive_widths)}
        plan.sequences |= {f"ddrive{i}": w for i, w in enumerate(plan.drive_widths)}
        plan.sequences |= dict.fromkeys(("out", "cot"), width_of(reading.out))
        for i, value in enumerate(reading.new_state):
            if value == reading.out:
                plan.history[i] = "out"
        self.after = {v[0]: i for i, v in enumerate(reading.new_state) if len(v) == 1 and v[0].op not in LEAVES}
        self.before = self._states_before()
        self._step()
        self._gradients_of_weights()
        self._history()
        plan.forward += [(node, ("saved", at)) for node, at in self.saved.items()]
        if self.saved_width:
            plan.sequences["saved"] = self.saved_width
        kept = [name for name in plan.sequences if name.startswith("kept") and not self._late(name)]
        plan.forward_arrays = [*dict.fromkeys(plan.history[i] for i in sorted(self.before)), *kept]
        plan.forward_arrays += ["saved"] if self.saved_width else []

    def _states_before(self) -> set[int]:
        """The states whose value before the step backward needs."""
        r = self.reading
        values = [
            *r.ddrive,
            *r.dstate,
            *((n,) for p in r.products for n in (p.left, p.right)),
            *(t.value for t in r.totals),
        ]
        nodes = ancestors(n for value in values for n in value)
        return {n.attr[1] for n in nodes if n.op == "in" and n.attr[0] == "state"}

    def _step(self) -> None:
        r, plan = self.reading, self.plan
        plan.forward += self._to("out", r.out)
        for i, value in enumerate(r.new_state):
            plan.forward += self._to(f"next{i}", value)
        for kind, values in (("ddrive", r.ddrive), ("next", r.dstate)):
            for i, value in enumerate(values):
                plan.backward += [(self._again(node), target) for node, target in self._to(f"{kind}{i}", value)]

    @staticmethod
    def _to(base: str, value: Value) -> list[Root]:
        return [(node, (base, at)) for node, at in offsets(value)]

    def _again(self, n: Node) -> Node:
        """A node of backward, in terms of what will be there then."""
        if n not in self.met:
            self.met[n] = self._read_or_compute(n)
        return self.met[n]

    def _read_or_compute(self, n: Node) -> Node:
        if n.op in LEAVES:
            return n
        if not n.backward:
            if n in self.after and self.after[n] in self.before:
                return self.graph.node("in", (), n.width, ("after", self.after[n]))
            piece = n.op == "slice" and n.args[0].op == "mm"
            dear = n.op in DEAR and (n.width > 1 or n.op in REDUCTIONS)
            if piece or (dear and not (n.op in POINTWISE and all(map(self._at_hand, n.args)))):
                self.saved[n], self.saved_width = self.saved_width, self.saved_width + n.width
                return self.graph.node("saved", (), n.width, self.saved[n])
        return self.graph.node(n.op, [self._again(a) for a in n.args], n.width, n.attr)

    def _at_hand(self, n: Node) -> bool:
        """Whether backward has the row anyway: to compute one function of it again costs less than to keep that."""
        return (
            n.op == "const"
            or (n.op == "in" and n.attr[0] == "state")
            or (n in self.after and self.after[n] in self.before)
        )

    def _gradients_of_weights(self) -> None:
        r, plan = self.reading, self.plan
        for product in r.products:
            left, right = (self._factor(n) for n in (product.left, product.right))
            plan.products.append((product.node, left, right))
        at = 0
        for total in r.totals:
            for node, offset in offsets(total.value):
                # A copy, so that one row summed for two weights is stored twice.
                row = self.graph.node("copy", (self._again(node),), node.width, ("sums", at + offset))
                plan.backward.append((row, ("sums", at + offset)))
            width = width_of(total.value)
            plan.totals.append((total.node, at, width))
            at += width

    def _factor(self, n: Node) -> Factor:
        if n.op == "in" and n.attr[0] in ("state", "drive"):
            kind, number = n.attr
            return Factor(f"{kind}{number}", 0, n.width, before=kind == "state")
        roots = self.plan.backward if n.backward else self.plan.forward
        parts = n.args if n.op == "cat" else (n,)
        value = tuple(self._again(part) for part in parts) if n.backward else parts
        stores: dict[Node, list[Target]] = {}
        for node, target in roots:
            if target[0] in self.plan.sequences:
                stores.setdefault(node, []).append(target)
        found = side_by_side(value, stores)
        if found is None:
            found = (f"kept{sum(key.startswith('kept') for key in self.plan.sequences)}", 0)
            self.plan.sequences[found[0]] = n.width
            roots += self._to(found[0], value)
        return Factor(*found, n.width)

    def _late(self, name: str) -> bool:
        """Whether backward writes the array."""
        return any(base == name for _, (base, _) in self.plan.backward)

    def _history(self) -> None:
        for i in sorted(self.before):
            if i not in self.plan.history:
                self.plan.history[i] = f"hist{i}"
                self.plan.sequences[f"hist{i}"] = width_of(self.reading.new_state[i])
                self.plan.forward += self._to(f"hist{i}", self.reading.new_state[i])
