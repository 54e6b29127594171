"""Zoneout (Krueger et al. 2017): while training, a unit of the state keeps its old value with chance p.

    training     s_t = d_t ⊙ s_{t-1} + (1 - d_t) ⊙ s̃_t,    d_t ~ Bernoulli(p)
    evaluation   s_t = p s_{t-1} + (1 - p) s̃_t

s̃_t is what the cell makes of s_{t-1}. The masks of all steps are drawn at once and belong to the drive, so a kernel is
derived from the whole step, and draws no random numbers.
"""

import functools
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from .. import tree
from ..kernels.chance import bernoulli
from ..matching import matched
from ..recurrence import Recurrence
from ..recurrent import Cell
from .chances import chance, chances, only_cell
from .variants import variants


class ZoneoutDrive(NamedTuple):
    inner: Any  # the cell's own drive
    kept: tuple[Tensor, ...]  # of each leaf: d [B, T, ...] while training, else p [B, T, 1, ...]


class ZoneoutGates(NamedTuple):
    inner: Any  # the cell's own gates
    kept: tuple[Tensor, ...]  # how much of each leaf keeps its old value


def gates(inner: Recurrence, drive: ZoneoutDrive, state: Any, *weights: Tensor) -> ZoneoutGates:
    own = drive.inner if inner.gates is None else inner.gates(drive.inner, state, *weights)
    # Nobody learns a mask: without the detach a kernel would compute its gradient.
    return ZoneoutGates(own, tuple(kept.detach() for kept in drive.kept))


def update(inner: Recurrence, numbers: tuple[int, ...], gates: ZoneoutGates, state: Any) -> tuple[Tensor, Any]:
    out, new = inner.update(gates.inner, state)
    old, leaves = (
        tree.leaves(state),
        tree.leaves(matched(new, state, "the state after the step", "the state before it")),
    )
    shown = next((i for i, leaf in enumerate(leaves) if leaf is out), None)
    for i, kept in zip(numbers, gates.kept, strict=True):
        leaves[i] = kept * old[i] + (1 - kept) * leaves[i]
    return out if shown is None else leaves[shown], tree.like(state, leaves)


@functools.cache
def zoned(inner: Recurrence, numbers: tuple[int, ...]) -> Recurrence:
    """`inner`, some leaves of whose state (by their numbers) keep part of their old values."""
    name = "_".join([inner.name, "zoneout", *map(str, numbers)])
    return Recurrence(name, partial(update, inner, numbers), partial(gates, inner), inner.linear)


class Zoneout(Cell[Any]):
    """`cell`, whose state keeps old values. Reads and gives what the cell does.

    An output that is a leaf of the state, as h is, keeps old values too; one computed from the state does not.
    Each call draws anew, for each row, step and unit. In evaluation mode the expected state is taken.

    Args:
        cell: a Cell.
        p: the chance for all floating leaves of the state, or one for each leaf: (0.05, 0.5) for h and c of an LSTM.
            With 0 a leaf moves as it does without.

    Raises:
        TypeError: `cell` is no Cell.
        ValueError: a chance lies outside [0, 1), or there is not one for each leaf.
    """

    def __init__(self, cell: Cell[Any], p: Any) -> None:
        super().__init__()
        only_cell(cell, "Zoneout")
        self.cell = cell
        if isinstance(p, int | float):
            p = tree.map(lambda leaf: chance(p) if leaf.is_floating_point() else 0.0, cell.initial_state(1))
        self.p = chances(p, cell)
        self.numbers = tuple(i for i, p in enumerate(self.p) if p)
        self.variants = variants(cell, lambda inner: zoned(inner, self.numbers))

    @property
    def recurrence(self) -> Recurrence:
        inner = self.cell.recurrence
        return self.variants.get(inner) or zoned(inner, self.numbers) if self.numbers else inner

    def initial_state(self, batch: int) -> Any:
        return self.cell.initial_state(batch)

    def drive(self, x: Tensor) -> Any:
        inner = self.cell.drive(x)
        if not self.numbers:
            return inner
        leaves = tree.leaves(self.cell.initial_state(1))
        return ZoneoutDrive(inner, tuple(self._kept(x, leaves[i], self.p[i]) for i in self.numbers))

    def _kept(self, x: Tensor, leaf: Tensor, p: float) -> Tensor:
        if self.training:
            return bernoulli(leaf, (*x.shape[:2], *leaf.shape[1:]), p)
        return leaf.new_full((*x.shape[:2], *[1] * (leaf.ndim - 1)), p)

    def weights(self) -> tuple[Tensor, ...]:
        return self.cell.weights()

    def emit(self, out: Tensor, x: Tensor) -> Tensor:
        return self.cell.emit(out, x)
