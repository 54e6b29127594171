"""Recurrences made of the recurrences of a cell, in training and in evaluation."""

from collections.abc import Callable
from typing import Any

from ..recurrence import Recurrence
from ..recurrent import Cell

Variants = dict[Recurrence, Recurrence]


def variants(cell: Cell[Any], make: Callable[[Recurrence], Recurrence]) -> Variants:
    """What `make` makes of each recurrence that the cell may have: beforehand, for compiled code cannot make any."""
    modes = {part: part.training for part in cell.modules()}
    try:
        inner = [cell.train(mode).recurrence for mode in (True, False)]
    finally:
        for part, mode in modes.items():
            part.training = mode
    return {recurrence: make(recurrence) for recurrence in inner}
