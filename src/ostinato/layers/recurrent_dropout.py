"""Recurrent dropout (Gal & Ghahramani 2016): the gates see the state through one mask for all steps.

    training     gates_t = gates(drive_t, m ⊙ h_{t-1}),    m ~ Bernoulli(1 - p) / (1 - p), one a row and sequence
    evaluation   as without

The update sees the whole state, so that memory is not dropped: what Semeniuta et al. (2016) reach by dropping the
candidate instead. That one is not here, since which gate is the candidate is a matter of each cell.
"""

import functools
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from .. import tree
from ..recurrence import Recurrence
from ..recurrent import Cell
from .chances import chance, chances, only_cell
from .variants import variants


class RecurrentDropoutDrive(NamedTuple):
    inner: Any  # the cell's own drive
    masks: tuple[Tensor, ...]  # of each leaf, [B, T, ...], the same at all steps


def gates(
    inner: Recurrence, numbers: tuple[int, ...], drive: RecurrentDropoutDrive, state: Any, *weights: Tensor
) -> Any:
    assert inner.gates is not None
    seen = tree.leaves(state)
    for i, mask in zip(numbers, drive.masks, strict=True):
        # Nobody learns a mask: without the detach a kernel would compute its gradient.
        seen[i] = mask.detach() * seen[i]
    return inner.gates(drive.inner, tree.like(state, seen), *weights)


@functools.cache
def masked(inner: Recurrence, numbers: tuple[int, ...]) -> Recurrence:
    """`inner`, whose gates see some leaves of the state (by their numbers) through a mask."""
    name = "_".join([inner.name, "dropout", *map(str, numbers)])
    return Recurrence(name, inner.update, partial(gates, inner, numbers))


class RecurrentDropout(Cell[Any]):
    """`cell`, whose gates see the state through a mask. Reads and gives what the cell does.

    One mask a row and unit, drawn anew by each call: over truncated BPTT each chunk has its own, a reset inside a
    chunk keeps it, and single steps in training mode are dropped independently. In evaluation mode nothing is dropped.

    Args:
        cell: a Cell whose gates depend on its state.
        p: the chance for the first leaf of the state, which in our cells is the output h; or one for each leaf.
            A leaf that a gate carries on, as LEM's memory z, would be lost: leave it at 0.

    Raises:
        TypeError: `cell` is no Cell.
        ValueError: a chance lies outside [0, 1), there is not one for each leaf, or no gate sees the state.
    """

    def __init__(self, cell: Cell[Any], p: Any) -> None:
        super().__init__()
        only_cell(cell, "RecurrentDropout")
        if cell.recurrence.gates is None or cell.recurrence.linear:
            name = type(cell).__name__
            raise ValueError(f"the gates of {name} do not see its state, so there is nothing to drop; try Zoneout")
        self.cell = cell
        if isinstance(p, int | float):
            first, *others = tree.leaves(cell.initial_state(1))
            p = (chance(p) if first.is_floating_point() else 0.0, *(0.0 for _ in others))
        self.p = chances(p, cell)
        self.numbers = tuple(i for i, p in enumerate(self.p) if p)
        self.variants = variants(cell, lambda inner: masked(inner, self.numbers))

    @property
    def recurrence(self) -> Recurrence:
        inner, drops = self.cell.recurrence, self.training and self.numbers
        return self.variants.get(inner) or masked(inner, self.numbers) if drops else inner

    def initial_state(self, batch: int) -> Any:
        return self.cell.initial_state(batch)

    def drive(self, x: Tensor) -> Any:
        inner = self.cell.drive(x)
        if not (self.training and self.numbers):
            return inner
        leaves = tree.leaves(self.cell.initial_state(1))
        return RecurrentDropoutDrive(inner, tuple(_mask(x, leaves[i], self.p[i]) for i in self.numbers))

    def weights(self) -> tuple[Tensor, ...]:
        return self.cell.weights()

    def emit(self, out: Tensor, x: Tensor) -> Tensor:
        return self.cell.emit(out, x)


def _mask(x: Tensor, leaf: Tensor, p: float) -> Tensor:
    mask = F.dropout(leaf.new_ones(x.shape[0], 1, *leaf.shape[1:]), p)
    return mask.expand(-1, x.shape[1], *leaf.shape[1:])
