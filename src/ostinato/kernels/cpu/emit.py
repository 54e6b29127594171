"""From a plan to the source of its stages: products by the tile, loops over explicit vectors of features.

What stands around them, the loops over rows and time, is `frame`'s. A row of a block lies in the arrays over time, in
weights, or in a scratch S of LD numbers a row.
"""

from collections.abc import Iterable, Mapping

from ..lower.ir import LEAVES, Node, ancestors, offsets
from ..lower.plan import Plan, Target, side_by_side
from ..lower.schedule import Loop, schedule
from .loops import LoopSource


class Emitter:
    """The stages of one direction, in `bodies`; what they read and write, in `used` and `vectors`.

    Args:
        inputs: features of x, for each leaf of the drive that is its product with a matrix, made as it is wanted.
    """

    def __init__(self, plan: Plan, direction: str, lanes: int, inputs: Mapping[int, int]) -> None:
        self.plan, self.lanes, self.name = plan, lanes, direction
        self.inputs = {f"drive{i}": features for i, features in inputs.items()}
        self.reverse = direction == "backward"
        self.graph = plan.reading.graph
        self.used: dict[str, None] = {}  # bases that are read or written
        self.vectors: dict[Node, str] = {}  # weights -> base
        self.tables: dict[Node, str] = {}  # lookups -> base
        self.top = 0  # numbers of scratch a row
        self.slots = [(self.take(w), self.take(w)) for w in plan.state_widths]
        self.place: dict[Node, Target] = {}
        self.stores: dict[Node, list[Target]] = {}
        wanted = plan.backward if self.reverse else plan.forward
        if direction == "inference":
            wanted = [(n, target) for n, target in wanted if target[0] == "out" or target[0].startswith("next")]
        roots = [self._root(*root) for root in wanted]
        self._gather(roots)
        self.stages = schedule(roots)
        self.staged = {n for stage in self.stages if isinstance(stage, Loop) for n in stage.nodes}
        self.bodies = self._bodies()

    def whole(self, width: int) -> int:
        """A width in whole vectors."""
        return -(-width // self.lanes) * self.lanes

    def take(self, width: int) -> int:
        """Room for a row of scratch."""
        start = self.top
        self.top += self.whole(width)
        return start

    def _root(self, n: Node, target: Target) -> Node:
        if n.op == "mm" and n not in self.place and self._fills(n, target):
            self.place[n] = target
            return n
        if n.op in LEAVES or n.op in ("slice", "mm"):
            n = self.graph.node("copy", (n,), n.width, target)
        self.stores.setdefault(n, []).append(target)
        return n

    def _fills(self, n: Node, target: Target) -> bool:
        """Whether it is a whole state: a product overwrites what is beside it, up to whole vectors."""
        base, at = target
        return base.startswith("next") and at == 0 and n.width == self.plan.state_widths[int(base[4:])]

    def _gather(self, roots: Iterable[Node]) -> None:
        """A product's factor made of several rows is stored side by side before it; so is what lies in no row."""
        for n in ancestors(roots):
            if n.op == "mm" and n.args[0].op in ("lookup", "const"):
                n.args = (self.graph.node("copy", n.args, n.args[0].width, n.args[0].attr),)
                self.place[n.args[0]] = ("S", self.take(n.args[0].width))
            if n.op == "mm" and n.args[0].op == "cat" and n.args[0] not in self.place:
                cat = n.args[0]
                if stored := side_by_side(cat.args, self.stores):
                    self.place[cat] = stored
                    continue
                start = self.take(cat.width)
                self.place[cat] = ("S", start)
                parts = []
                for part, at in offsets(cat.args):
                    lies = part.op in LEAVES or part.op in ("slice", "mm")
                    made = self.graph.node("copy", (part,), part.width, ("S", start + at)) if lies else part
                    self.stores.setdefault(made, []).append(("S", start + at))
                    parts.append(made)
                cat.args = tuple(parts)

    def base(self, n: Node) -> Target:
        """Where a row lies; a node that lies nowhere yet gets room in the scratch."""
        if n.op == "slice":
            base, at = self.base(n.args[0])
            return base, at + n.attr
        if n.op == "in":
            kind, number = n.attr
            found = (self.plan.history[number] if kind == "after" else "cot" if kind == "cot" else f"{kind}{number}", 0)
        elif n.op == "saved":
            found = ("saved", n.attr)
        elif n.op == "lookup":
            found = (self.tables.setdefault(n, f"e{len(self.tables)}"), 0)
            self.used[f"drive{n.attr[0]}"] = None
        elif n.op == "vector":
            found = (self.vectors.setdefault(n, f"w{len(self.vectors)}"), 0)
        else:
            found = self.place.setdefault(n, ("S", -1))
            if found[1] < 0:
                found = self.place[n] = ("S", self.take(n.width))
        self.used[found[0]] = None
        return found

    def row(self, base: str) -> str:
        """Where row r of the batch begins."""
        for n, table in self.tables.items():
            if base == table:
                ids = f"drive{n.attr[0]}"
                return f"at({base}, int(load1({ids}, r * {self.stride(ids)})) * {n.width})"
        stride = self.stride(base)
        return base if stride == "0" else f"at({base}, r * {stride})"

    def stride(self, base: str) -> str:
        """How far a row of the batch is from the next one."""
        if base == "S" or base.startswith(("next", "dstate")):
            return "LD"
        if base.startswith("state"):
            return f"{base}_ld" if self.reverse else "LD"
        if base in self.inputs:
            return f"steps * {self.whole(self.plan.sequences[base])}"
        if base in self.plan.sequences:
            return f"T * {self.plan.sequences[base]}"
        return str(self.plan.sums) if base == "sums" else "0"

    def _bodies(self) -> list[str]:
        """The stages' source. The last first: what a later stage loads an earlier one must store."""
        bodies = []
        for stage in reversed(self.stages):
            bodies.append(LoopSource(self, stage).text() if isinstance(stage, Loop) else self._multiply(stage.node))
        return [body for body in reversed(bodies) if body]

    def _multiply(self, n: Node) -> str:
        factor = n.args[0]
        (a, a_at), (c, c_at) = self.base(factor), self.base(n)
        matrix = f"m{n.attr}"
        self.used[c] = self.used[matrix] = None
        return (
            f"call_product(multiply, R, {n.width}, {factor.width}, at({a}, {a_at}), {self.stride(a)}, {matrix}, "
            f"at({c}, {c_at}), {self.stride(c)})"
        )
