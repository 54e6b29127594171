"""What ATen's operations mean for rows: one function each, from operands to a value.

It gets the reader, whose `value` makes any operand a row and whose `graph` makes nodes, the traced node, and ATen's
arguments. Beside batch and features a row may have axes of size 1: one time step, say. The functions themselves stand
by theme in pointwise.py, truths.py, rows.py and places.py; what has several axes of features, in grid.py.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

from torch import fx

from ..ir.graph import Graph, Value
from ..table import Outside as Outside


class Reader(Protocol):
    graph: Graph

    def value(self, x: Any) -> Value: ...


VOCABULARY: dict[str, Callable[..., Value]] = {}


def reads(*names: str) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Decorator: the meaning of the ATen operations of these names."""

    def add(meaning: Callable[..., Value]) -> Callable[..., Value]:
        VOCABULARY.update(dict.fromkeys(names, meaning))
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


def single(source: fx.Node, *axes: int) -> bool:
    """Whether the axes have one place each, so that nothing happens along them."""
    shape = source.meta["val"].shape
    return math.prod(shape[axis] for axis in axes) == 1


def axes_of(node: fx.Node) -> list[int]:
    """The axes that a reduction takes away; all where it names none."""
    dims = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    axes = node.args[1] if len(node.args) > 1 else None
    return [axis % dims for axis in axes] if axes else list(range(dims))  # type: ignore[union-attr]
