"""The graph of one step, as a kernel wants it: rows of numbers, what becomes of them, and nothing about how.

A node is `shape` numbers for each row of the batch, the last axis innermost; axes of one place are none. What moves
axes, cuts or repeats is a view, and computes nothing. A result is a tuple of nodes side by side.

    in        what comes from outside: attr ("drive" | "state" | "cot" | "dstate", number)
    vector    a weight, the same for all rows: attr is its node in the trace
    const     one number
    saved     what forward kept for backward: attr is where it begins there
    lookup    a row of a table: attr (the drive that holds its number, the table's node in the trace)
    slice     part of a row: attr is where it begins in args[0]
    view      attr: (starts, one an axis of args[0]; steps, one an axis of its own): see lower/views.py
    cat       the numbers of args side by side, as one axis
    join      args side by side along an axis: attr (the axis, where each begins)
    spread    one number, in all places
    mm        args[0], one row or several, times a matrix: attr is the matrix's number
    sum, amax the numbers along axes made one: attr are the axes, either the last or others; None: of a row the only one
    copy      a row stored once more: attr is the target
    others    pointwise: see ops.py
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .ops import OPS

MOST = 32  # parts that a value consists of: each is code of its own
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
        # As numbers 0.0 equals -0.0, and NaN not itself.
        key = (op, tuple(map(id, args)), shape, attr.hex() if isinstance(attr, float) else attr)
        if key not in self._made:
            self._made[key] = Node(op, tuple(args), shape, attr)
        return self._made[key]

    def rebuilt(self, node: Node, args: Sequence[Node]) -> Node:
        """The same of other arguments."""
        return self.node(node.op, args, node.shape, node.attr)

    def const(self, x: float, width: int | tuple[int, ...] = 1) -> Node:
        return self.node("const", (), width, float(x))

    def pointwise(self, op: str, *args: Node) -> Node:
        """An operation place by place, on nodes of one shape; a single number counts for every place."""
        shape = max((a.shape for a in args), key=math.prod)
        if op in _FOLDED and all(a.op == "const" for a in args):
            meaning = OPS[op].meaning
            assert meaning is not None
            return self.const(meaning(args[0].attr, args[1].attr), shape)
        return self._simpler(op, args, shape) or self.node(op, args, shape)

    def _simpler(self, op: str, args: tuple[Node, ...], shape: tuple[int, ...]) -> Node | None:
        if op not in ("add", "sub", "mul", "div"):
            return None
        a, b = args
        if op == "add" and b.op == "neg":
            return self.pointwise("sub", a, b.args[0])
        if b.shape == shape and ((op == "add" and _adds_nothing(a, b)) or (op == "mul" and _is(a, 1.0))):
            return b
        if a.shape == shape and (
            (op == "add" and _adds_nothing(b, a))
            or (op == "sub" and _is(b, 0.0))
            or (op in ("mul", "div") and _is(b, 1.0))
        ):
            return a
        return None

    def cat(self, value: Value) -> Node:
        """A value as one row."""
        return value[0] if len(value) == 1 else self.node("cat", value, width_of(value))


def _is(node: Node, x: float) -> bool:
    """Whether it is that number, of the same sign."""
    return node.op == "const" and node.attr.hex() == x.hex()


def _adds_nothing(zero: Node, x: Node) -> bool:
    """Whether zero + x is x. Of -0.0 the sum with 0.0 is 0.0: that makes no difference in a gradient."""
    return _is(zero, -0.0) or (_is(zero, 0.0) and x.backward)


def count(nodes: Iterable[Node]) -> dict[str, int]:
    """How many nodes of each operation it takes."""
    found: dict[str, int] = {}
    for node in ancestors(nodes):
        found[node.op] = found.get(node.op, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
