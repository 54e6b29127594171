"""Chances to drop: what the regularisers of a cell take, checked."""

from typing import Any

from .. import tree
from ..recurrent import Cell


def chance(p: Any) -> float:
    """p itself.

    Raises:
        ValueError: p is no number in [0, 1).
    """
    if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p < 1:
        raise ValueError(f"p is the chance to drop, from 0 up to but not including 1, and is {p!r}")
    return float(p)


def chances(p: Any, cell: Cell[Any]) -> tuple[float, ...]:
    """One chance for each leaf of the cell's state, from a tree of as many numbers.

    Raises:
        ValueError: there are more or fewer numbers than leaves, one is no chance, or its leaf holds integers.
    """
    given, leaves = tree.leaves(p), tree.leaves(cell.initial_state(1))
    if len(given) != len(leaves):
        raise ValueError(
            f"p must be one number, or one for each of the {len(leaves)} leaves of the state of "
            f"{type(cell).__name__}, and holds {len(given)}"
        )
    for number, leaf in zip(given, leaves, strict=True):
        if chance(number) and not leaf.is_floating_point():
            raise ValueError(f"a leaf of the state holds {leaf.dtype}, which cannot be dropped; give it the chance 0")
    return tuple(map(float, given))


def only_cell(cell: Any, name: str) -> None:
    """
    Raises:
        TypeError: `cell` is no Cell.
    """
    if not isinstance(cell, Cell):
        kind = type(cell).__name__
        raise TypeError(f"{name} goes around a Cell, and got {kind}; put it around the cells inside, one by one")
