"""What every pass may rely on: graphs and loops are well formed. A broken one is a mistake of a pass, told at once."""

import math
from collections.abc import Collection, Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from torch import fx

from .expressions import Base, Parameter, Row, RowStride, Var
from .graph import Node, Value, width_of
from .loops import Assign, For, Function, Increase, Statement
from .ops import OPS, OpKind


class MalformedError(AssertionError):
    """A graph or a loop that no pass may give."""


def graph(roots: Iterable[Node], leaves: Collection[tuple[str, int]] | None = None, saved: int | None = None) -> None:
    """Checks all nodes that roots need.

    Args:
        leaves: what may come from outside, (kind, number); None: anything.
        saved: how many numbers forward keeps; None: any number.

    Raises:
        MalformedError: of the first node that is wrong.
    """
    open_, done = dict[Node, None](), set[Node]()
    left = [(node, False) for node in roots]
    while left:
        node, after = left.pop()
        if after:
            done.add(node)
            del open_[node]
        elif node in open_:
            raise MalformedError(f"{node} needs itself")
        elif node not in done:
            open_[node] = None
            _check(node, leaves, saved)
            left.append((node, True))
            left += [(a, False) for a in node.args if a not in done]


def _check(node: Node, leaves: Collection[tuple[str, int]] | None, saved: int | None) -> None:
    def expect(right: bool, what: str) -> None:
        if not right:
            raise MalformedError(f"{node} of {list(node.args)}: {what}")

    expect(node.op in OPS, "its operation stands in ir/ops.py was expected")
    op, args = OPS[node.op], node.args
    expect(len(args) == op.arity if op.arity is not None else len(args) > 0, f"it takes {op.arity or 'some'} arguments")
    expect(node.width == math.prod(node.shape), "its width is that of its shape")
    match op.kind:
        case OpKind.POINTWISE:
            expect(all(a.shape in (node.shape, ()) for a in args), "its arguments have its shape, or one number a row")
        case OpKind.REDUCTION:
            expect(args[0].shape != node.shape or node.shape == (), "it takes an axis away")
    match node.op:
        case "in":
            expect(leaves is None or node.attr in leaves, "it comes from outside")
        case "vector":
            expect(isinstance(node.attr, fx.Node), "it is a weight of the trace")
        case "saved":
            expect(saved is None or 0 <= node.attr <= saved - node.width, f"it is one of {saved} numbers that are kept")
        case "slice":
            expect(0 <= node.attr <= args[0].width - node.width, "it lies inside its argument")
        case "cat":
            expect(width_of(args) == node.width, "it is as wide as its arguments together")
        case "spread":
            expect(args[0].width == 1, "it spreads one number")
        case "copy":
            expect(args[0].shape == node.shape, "it has the shape of its argument")


def traced_widths(pairs: Iterable[tuple[Value, Any]]) -> None:
    """Checks that lowered values are as wide as what they were traced as, [batch, ...].

    Raises:
        MalformedError: of the first that is not.
    """
    for value, node in pairs:
        if isinstance(node, fx.Node):
            features = math.prod(node.meta["val"].shape[1:])
            if width_of(value) != features:
                raise MalformedError(f"{node.name} has {features} features a row, and was read as {width_of(value)}")


def function(f: Function) -> None:
    """Checks that a kernel reads no variable before it gives it a value, and no array that it does not take.

    Raises:
        MalformedError: of the first that it does.
    """
    _Scope({*f.head}, {*f.arrays}).body(f.body)


class _Scope:
    def __init__(self, names: set[Any], arrays: set[Any]) -> None:
        self.names, self.arrays = names, arrays

    def body(self, body: Iterable[Statement]) -> None:
        for s in body:
            self.statement(s)

    def statement(self, s: Statement) -> None:
        written = s.name if isinstance(s, Assign) else s.variable if isinstance(s, For) else None
        for f in fields(s):
            if f.name != "body" and (f.name != "name" or isinstance(s, Increase)) and f.name != "variable":
                self.reads(getattr(s, f.name))
        if written is not None:
            self.names.add(written)
        self.body(getattr(s, "body", ()))

    def reads(self, e: Any) -> None:
        if isinstance(e, (Var, Base, Row, RowStride)):
            if e not in self.names:
                raise MalformedError(f"{e} is read before it has a value")
        elif isinstance(e, tuple) and not hasattr(e, "_fields"):
            for part in e:
                self.reads(part)
        elif isinstance(e, Parameter):
            if e.buffer not in self.arrays:
                raise MalformedError(f"the kernel does not take the array {e.buffer}")
        elif is_dataclass(e):
            for f in fields(e):
                self.reads(getattr(e, f.name))
