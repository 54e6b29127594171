"""From a plan to the source of its stages: products by the tile, loops over explicit vectors of features.

What stands around them, the loops over rows and time, is `frame`'s. A row of a block lies in the arrays over time, in
weights, or in a scratch S of LD numbers a row.
"""

import math
from collections.abc import Iterable

from ..lower.ir import LEAVES, REDUCTIONS, Node, ancestors, offsets
from ..lower.plan import DEAR, Plan, Target, side_by_side
from ..lower.schedule import Loop, schedule

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
COMPARED = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
# Single numbers, of which there are few: plain Python, in float64.
SCALAR = {
    "sqrt": "math.sqrt({})", "exp": "math.exp({})", "log": "math.log({})", "tanh": "math.tanh({})", "abs": "abs({})",
    "erf": "math.erf({})", "sigmoid": "(1 / (1 + math.exp(-{})))", "neg": "(-{})", "relu": "(0.0 if {0} < 0 else {0})",
    # Python's max and min lose a NaN.
    "maximum": "({0} if {0} > {1} or {0} != {0} else {1})", "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
    "sign": "float(({0} > 0) - ({0} < 0))", "copy": "{}", "spread": "{}", "where": "({1} if {0} != 0 else {2})",
    **{name: f"({{}} {sign} {{}})" for name, sign in INFIX.items()},
    **{name: f"(1.0 if {{}} {sign} {{}} else 0.0)" for name, sign in COMPARED.items()},
}  # fmt: skip
START = {"sum": "0.0", "amax": "-math.inf"}
FOLD = {"sum": ("{} + {}", "hsum({})"), "amax": ("v_maximum({}, {})", "hmax({})")}


class Emitter:
    """The stages of one direction, in `bodies`; what they read and write, in `used` and `vectors`.

    Args:
        inputs: features of x, if the drive is its product with a matrix, made as it is wanted; 0: the drive is given.
    """

    def __init__(self, plan: Plan, direction: str, lanes: int, inputs: int = 0) -> None:
        self.plan, self.lanes, self.name, self.inputs = plan, lanes, direction, inputs
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
        if n.op == "mm" and target[0].startswith("next") and n not in self.place:
            self.place[n] = target
            return n
        if n.op in LEAVES or n.op in ("slice", "mm"):
            n = self.graph.node("copy", (n,), n.width, target)
        self.stores.setdefault(n, []).append(target)
        return n

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
        if base == "drive0" and self.inputs:
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


class LoopSource:
    """The source of one loop: rows of the block outside, vectors of features inside."""

    def __init__(self, emitter: Emitter, loop: Loop) -> None:
        self.e, self.loop = emitter, loop
        self.own = set(loop.nodes)
        self.masked = loop.width % emitter.lanes != 0
        self.names: dict[Node, str] = {}
        self.rows: dict[str, None] = {}  # bases whose row it needs
        self.head: list[str] = []  # once a row, before the vectors
        self.body: list[str] = []  # once a vector
        self.tail: list[str] = []  # once a row, after them

    def text(self) -> str:
        """ "" where nothing is stored: all of it is computed again where it is used."""
        for n in self.loop.nodes:
            if n.op in REDUCTIONS:
                self._reduce(n)
            elif n in self.e.stores or n in self.e.place:
                self._store(n)
        if not self.body:
            return ""
        rows = [f"{base}_ = {self.e.row(base)}" for base in self.rows]
        width = self.loop.width
        inner = ([f"n = {width} - j"] if self.masked else []) + self.body
        lines = [f"for r in range(R):  # {width} wide", *("    " + s for s in rows + self.head)]
        lines += [f"    for j in range(0, {width}, {self.e.lanes}):", *("        " + s for s in inner)]
        return "\n".join(lines + ["    " + s for s in self.tail])

    def _pointer(self, n: Node) -> Target:
        base, at = self.e.base(n)
        self.rows[base] = None
        return f"{base}_", at

    def _lies(self, n: Node) -> bool:
        return n.op in LEAVES or n.op in ("slice", "mm") or n.op in REDUCTIONS

    def _scalar(self, n: Node) -> str:
        """One number a row."""
        if n.op == "const":
            return _number(n.attr)
        if n not in self.names:
            if self._lies(n):
                base, at = self._pointer(n)
                text = f"load1({base}, {at})"
            else:
                text = SCALAR[n.op].format(*map(self._scalar, n.args))
            self.names[n] = f"s{len(self.names)}"
            self.head.append(f"{self.names[n]} = {text}")
        return self.names[n]

    def _value(self, n: Node) -> str:
        """One vector."""
        if n.op == "const":
            return _number(n.attr)
        if n.width == 1 < self.loop.width:
            return self._scalar(n)
        if n not in self.names:
            text = self._load(*self._pointer(n)) if self._loads(n) else self._computed(n)
            self.names[n] = f"v{len(self.names)}"
            self.body.append(f"{self.names[n]} = {text}")
        return self.names[n]

    def _loads(self, n: Node) -> bool:
        """Whether a value is read from memory: it always lies there, or another loop made it."""
        if n in self.own or n not in self.e.staged:
            return n not in self.own and self._lies(n)
        return n in self.e.place or not self._cheap(n)

    def _cheap(self, n: Node) -> bool:
        """Whether it is computed again where it is used, from what lies in memory."""

        def near(a: Node) -> bool:
            return a.op in LEAVES or a.width == 1 or (a.op == "slice" and a.args[0].op in LEAVES)

        return n.op not in DEAR and n.op not in ("copy", "cat") and all(map(near, n.args))

    def _load(self, base: str, at: int) -> str:
        return f"load_n({base}, {at} + j, n)" if self.masked else f"load({base}, {at} + j)"

    def _computed(self, n: Node) -> str:
        if n.op in ("copy", "spread"):
            return self._vector(n.args[0])
        if n.op in INFIX and not all(map(self._single, n.args)):
            return f" {INFIX[n.op]} ".join(map(self._value, n.args))  # a number counts for every lane
        if n.op in INFIX:
            return f"spread(num({SCALAR[n.op].format(*map(self._value, n.args))}))"
        return f"v_{n.op}({', '.join(map(self._vector, n.args))})"

    def _single(self, n: Node) -> bool:
        return n.op == "const" or n.width == 1 < self.loop.width

    def _vector(self, n: Node) -> str:
        return f"spread(num({self._value(n)}))" if self._single(n) else self._value(n)

    def _reduce(self, n: Node) -> None:
        value = self._vector(n.args[0])
        total = f"a{len(self.names)}"
        self.names[n] = total
        if self.masked:
            value = f"keep_n({value}, n, num({START[n.op]}))"
        step, end = FOLD[n.op]
        self.head.append(f"{total} = spread(num({START[n.op]}))")
        self.body.append(f"{total} = {step.format(total, value)}")
        targets = list(self.e.stores.get(n, []))
        if n in self.e.place or not targets:
            targets.append(self.e.base(n))
        self.e.place.setdefault(n, targets[0])
        for base, at in targets:
            self.rows[base] = self.e.used[base] = None
            old = f"load1({base}_, {at}) + " if base == "sums" else ""
            self.tail.append(f"store1({base}_, {at}, num({old}{end.format(total)}))")

    def _store(self, n: Node) -> None:
        value = self._value(n)
        for base, at in self.e.stores.get(n, []) + ([self.e.place[n]] if n in self.e.place else []):
            self.rows[base] = self.e.used[base] = None
            old = self._load(f"{base}_", at) + " + " if base == "sums" else ""
            if self.masked:
                self.body.append(f"store_n({base}_, {at} + j, {old}{value}, n)")
            else:
                self.body.append(f"store({base}_, {at} + j, {old}{value})")


def _number(x: float) -> str:
    return repr(x) if math.isfinite(x) else f"math.{x}" if x > 0 or x != x else "-math.inf"
