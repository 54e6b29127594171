"""What ATen's operations mean for rows of numbers: one function each, from operands to a value.

It gets the reader, whose `value` makes any operand a `Value` and whose `graph` makes nodes, the traced node, and ATen's
arguments. What is done place by place is written for single nodes: then `value` gives nodes of one shape, or single
numbers. The functions stand by theme in elementwise.py, boolean.py, reduce.py, movement.py and matmul.py.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Protocol

from torch import fx

from ..ir.graph import Graph, Node
from ..table import Outside as Outside


class Reader(Protocol):
    graph: Graph
    rows: int  # the size that marks the batch

    def value(self, x: Any) -> Any: ...

    def each(self, x: fx.Node, meaning: Callable[["Place"], Node], operands: Any = None) -> Any: ...


class Place:
    """A reader for which operands are nodes of one shape."""

    def __init__(self, graph: Graph, nodes: dict[fx.Node, Node]) -> None:
        self.graph, self.nodes = graph, nodes

    def value(self, x: Any) -> Node:
        return self.nodes[x] if isinstance(x, fx.Node) else self.graph.const(x)

    def pointwise(self, op: str, *operands: Any) -> Node:
        """An operation of nodes, numbers and traced operands."""
        return self.graph.pointwise(op, *(x if isinstance(x, Node) else self.value(x) for x in operands))


VOCABULARY: dict[str, Callable[..., Any]] = {}


def reads(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the meaning of the ATen operations of these names."""

    def add(meaning: Callable[..., Any]) -> Callable[..., Any]:
        VOCABULARY.update(dict.fromkeys(names, meaning))
        return meaning

    return add


def elementwise(*names: str) -> Callable[[Callable[..., Node]], Callable[..., Node]]:
    """Decorator: the same, of operations that are done place by place, whatever the axes."""

    def add(meaning: Callable[..., Node]) -> Callable[..., Node]:
        @reads(*names)
        @functools.wraps(meaning)
        def read(r: Reader, x: fx.Node, *operands: Any, **options: Any) -> Any:
            return r.each(x, lambda place: meaning(place, x, *operands, **options))

        return meaning

    return add


def name_of(node: fx.Node) -> str:
    """The operation's name in ATen, without namespace, overload and the mark of what is done in place."""
    if node.op != "call_function":
        return node.op
    packet = getattr(node.target, "overloadpacket", None)
    name = packet.__name__ if packet is not None else getattr(node.target, "__name__", str(node.target))
    return name if name.startswith("_") else name.rstrip("_")


def features(node: fx.Node) -> int:
    """How many numbers a row of a traced value has."""
    return math.prod(node.meta["val"].shape[1:])


def axes_of(node: fx.Node) -> list[int]:
    """The axes that a reduction takes away; all where it names none."""
    dims = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if isinstance(axes, int):
        axes = [axes]
    return [axis % dims for axis in axes] if axes else list(range(dims))  # type: ignore[union-attr]
