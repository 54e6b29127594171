"""The graph of one step, as a kernel wants it: rows of numbers, what becomes of them, and nothing about how.

A node is one row of `width` numbers for each row of the batch. A value of PyTorch is a tuple of nodes side by side: so
`chunk`, `cat` and slices cost nothing, and a product's output is cut where its parts part ways.

    in        what comes from outside: attr ("drive" | "state" | "cot" | "dstate", number)
    vector    a weight, the same for all rows: attr is its node in the trace
    const     one number
    saved     what forward kept for backward: attr is where it begins there
    lookup    a row of a table: attr (the drive that holds its number, the table's node in the trace)
    slice     attr: where it begins in args[0]
    cat       the rows of args side by side
    spread    one number a row, `width` times
    mm        args[0] times a matrix: attr is the matrix's number
    sum, amax a row made one number
    copy      a row stored once more: attr is the target
    others    pointwise: see ops.py
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from .ops import LEAVES, OPS

_FOLDED = ("add", "sub", "mul")  # of constants, at once


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Node:
    """The numbers of one row of the batch, `shape` of them; axes of one place are none. Equal nodes are one object.

    So nobody edits one: a pass that wants another graph makes it anew (`Graph.rebuilt`).
    """

    op: str
    args: tuple["Node", ...]
    shape: tuple[int, ...]
    attr: Any
    width: int = field(init=False)  # how many numbers that are
    backward: bool = field(init=False)  # known only once the gradients of what comes after are

    def __post_init__(self) -> None:
        late = (self.op == "in" and self.attr[0] in ("cot", "dstate")) or any(a.backward for a in self.args)
        object.__setattr__(self, "width", math.prod(self.shape))
        object.__setattr__(self, "backward", late)

    def __repr__(self) -> str:
        what = "" if self.attr is None else f" {self.attr}"
        return f"<{self.op}{what} {list(self.shape)}>"


Value = tuple[Node, ...]  # side by side


def width_of(value: Iterable[Node]) -> int:
    return sum(node.width for node in value)


def offsets(value: Iterable[Node]) -> Iterable[tuple[Node, int]]:
    """Each part of a value, and where it begins."""
    at = 0
    for node in value:
        yield node, at
        at += node.width


def ancestors(nodes: Iterable[Node], into: dict[Node, None] | None = None) -> dict[Node, None]:
    """The nodes and all that they need, each after what it needs."""
    into = {} if into is None else into
    for node in nodes:
        if node not in into:
            ancestors(node.args, into)
            into[node] = None
    return into


class Graph:
    """Makes nodes, each kind of result once, and simplifies what it can see."""

    def __init__(self) -> None:
        self._made: dict[Any, Node] = {}

    def node(self, op: str, args: Sequence[Node] = (), width: int | tuple[int, ...] = 1, attr: Any = None) -> Node:
        """The node of one axis of `width` places, or of several."""
        shape = width if isinstance(width, tuple) else (width,) if width != 1 else ()
        key = (op, tuple(map(id, args)), shape, attr)
        if key not in self._made:
            self._made[key] = Node(op, tuple(args), shape, attr)
        return self._made[key]

    def rebuilt(self, node: Node, args: Sequence[Node]) -> Node:
        """The same of other arguments."""
        return self.node(node.op, args, node.shape, node.attr)

    def const(self, x: float, width: int = 1) -> Node:
        return self.node("const", (), width, float(x))

    def pointwise(self, op: str, *args: Node) -> Node:
        """An operation on rows of one width; a row of width 1 counts for every place."""
        width = max(a.width for a in args)
        if op in _FOLDED and all(a.op == "const" for a in args):
            meaning = OPS[op].meaning
            assert meaning is not None
            return self.const(meaning(args[0].attr, args[1].attr), width)
        return self._simpler(op, args, width) or self.node(op, args, width)

    def _simpler(self, op: str, args: tuple[Node, ...], width: int) -> Node | None:
        if op not in ("add", "sub", "mul", "div"):
            return None
        a, b = args
        if op == "add" and b.op == "neg":
            return self.pointwise("sub", a, b.args[0])
        if op == "mul" and (_is(a, 0) or _is(b, 0)):
            return self.const(0, width)
        if b.width == width and ((op == "add" and _is(a, 0)) or (op == "mul" and _is(a, 1))):
            return b
        if a.width == width and ((op in ("add", "sub") and _is(b, 0)) or (op in ("mul", "div") and _is(b, 1))):
            return a
        return None

    def slice(self, node: Node, start: int, width: int) -> Node:
        """Part of a row: taken as deep in the graph as it goes, so that nothing is computed for the rest."""
        if node.width in (width, 1):
            return node
        if node.op == "const":
            return self.const(node.attr, width)
        if node.op == "slice":
            return self.slice(node.args[0], node.attr + start, width)
        if node.op == "cat":
            return self.cat(self.cut(node.args, start, width))
        if node.op in LEAVES or node.op == "mm":
            return self.node("slice", (node,), width, start)
        if node.op == "spread":
            return self.node("spread", node.args, width)
        return self.pointwise(node.op, *(self.slice(a, start, width) for a in node.args))

    def cut(self, value: Iterable[Node], start: int, width: int) -> Value:
        """Part of a value."""
        found = []
        for node, at in offsets(value):
            low, high = max(at, start), min(at + node.width, start + width)
            if low < high:
                found.append(self.slice(node, low - at, high - low))
        return tuple(found)

    def cat(self, value: Value) -> Node:
        """A value as one row."""
        return value[0] if len(value) == 1 else self.node("cat", value, width_of(value))

    def each(self, op: str, *values: Value) -> Value:
        """A pointwise operation on values, cut wherever one of them is."""
        total = max(map(width_of, values))
        edges = {e for v in values if width_of(v) == total for e in accumulate(n.width for n in v)}
        out, at = [], 0
        for edge in sorted(edges):
            parts = [v[0] if width_of(v) == 1 < total else self.cat(self.cut(v, at, edge - at)) for v in values]
            out.append(self.spread(self.pointwise(op, *parts), edge - at))
            at = edge
        return tuple(out)

    def spread(self, node: Node, width: int) -> Node:
        if node.width == width:
            return node
        return self.const(node.attr, width) if node.op == "const" else self.node("spread", (node,), width)

    def reduce(self, op: str, value: Value) -> Value:
        """Each row made one number: "sum" or "amax"."""
        total: Node | None = None
        for node in value:
            # A constant of no width is one number a row; it counts as often as the row is wide.
            part = self.node(op, (self.spread(node, node.width),))
            total = part if total is None else self.pointwise("add" if op == "sum" else "maximum", total, part)
        assert total is not None
        return (total,)


def _is(node: Node, x: float) -> bool:
    return node.op == "const" and node.attr == x


def count(nodes: Iterable[Node]) -> dict[str, int]:
    """How many nodes of each operation it takes."""
    found: dict[str, int] = {}
    for node in ancestors(nodes):
        found[node.op] = found.get(node.op, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
