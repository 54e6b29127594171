"""What ATen's operations mean for rows of numbers: one function each, from operands to a value.

It gets the reader, whose `value` makes any operand a `Value` and whose `graph` makes nodes, the traced node, and ATen's
arguments. What is done place by place is written for single nodes: then `value` gives nodes of one shape, or single
numbers. The functions stand by theme in elementwise.py, boolean.py, reduce.py, movement.py and matmul.py.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

from torch import fx

from ..ir.graph import Graph, Node


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
