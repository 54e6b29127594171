"""The source of one loop of a stage: explicit vectors of features, what is once a row before and after them."""

import math
from typing import TYPE_CHECKING

from ..lower.ir import LEAVES, REDUCTIONS, Node
from ..lower.plan import DEAR, Target
from ..lower.schedule import Loop

if TYPE_CHECKING:
    from .emit import Emitter

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
COMPARED = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
# Single numbers, of which there are few: plain Python, in float64.
SCALAR = {
    "sqrt": "math.sqrt({})", "exp": "math.exp({})", "log": "math.log({})", "tanh": "math.tanh({})", "abs": "abs({})",
    "erf": "math.erf({})", "sigmoid": "(1 / (1 + math.exp(-{})))", "neg": "(-{})", "relu": "(0.0 if {0} < 0 else {0})",
    # Python's max and min lose a NaN.
    "maximum": "({0} if {0} > {1} or {0} != {0} else {1})", "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
    "sin": "math.sin({})", "cos": "math.cos({})", "atan": "math.atan({})", "expm1": "math.expm1({})",
    # Of floating numbers, and not by way of whole ones, which hold no infinity.
    "floor": "({0} - {0} % 1.0 if abs({0}) < 2.0**52 else {0})", "pow": "math.pow({}, {})",
    "round": "(({0} + 1.5 * 2.0**52) - 1.5 * 2.0**52 if abs({0}) < 2.0**51 else {0})",
    "sign": "float(({0} > 0) - ({0} < 0))", "copy": "{}", "spread": "{}", "where": "({1} if {0} != 0 else {2})",
    **{name: f"({{}} {sign} {{}})" for name, sign in INFIX.items()},
    **{name: f"(1.0 if {{}} {sign} {{}} else 0.0)" for name, sign in COMPARED.items()},
}  # fmt: skip
START = {"sum": "0.0", "amax": "-math.inf"}
FOLD = {"sum": ("{} + {}", "hsum({})"), "amax": ("v_maximum({}, {})", "hmax({})")}


class LoopSource:
    """The source of one loop: rows of the block outside, vectors of features inside."""

    def __init__(self, emitter: "Emitter", loop: Loop) -> None:
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
