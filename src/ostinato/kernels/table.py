"""The table of kernels: which recurrence runs faster on which backend.

A kernel is a scan: `(drive, state, *weights, lengths, resets, initial) -> (out, final leaves)`, with

    drive     a tree of tensors [B, T, ...] and of `Affine`s
    state     before the first step, a tree whose leaves are [B, ...]
    lengths   [B] int64 or None: past its length a row rests, its output is zero
    resets    [B, T] bool or None: a new sequence begins at that step
    initial   the state that a reset returns to, or None for zeros
    out       [B, T, ...]; final leaves: those of the state after the last step of each row

It must equal `Recurrence.walk` in outputs, final state and gradients, and says in words what it refuses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .._torch import pytree

Scan = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
Scans = Callable[[Sequence["Call"]], list[tuple[Tensor, tuple[Tensor, ...]]]]
Refuses = Callable[..., str | None]
Pays = Callable[[Any], bool]


class Unsupported(Exception):
    """No kernel can be derived from a step; the message says why."""

    def __init__(self, op: str, why: str = "") -> None:
        super().__init__(why or f"the operation {op} is outside the vocabulary")
        self.op = op  # of ATen, where one is to blame


class Affine(NamedTuple):
    """A drive not yet computed: `x W^T + b` for all steps at once.

    Most cells are driven by one product with the input. Handing it over uncomputed lets a kernel
    that has the product inside (oneDNN, cuDNN, our own) do it there; everybody else asks for `value()`.
    """

    x: Tensor  # [B, T, D]
    weight: Tensor  # [G, D]
    bias: Tensor | None  # [G]

    def value(self) -> Tensor:
        """[B, T, G]

        Raises:
            ValueError: x has another width than the weight takes, or another dtype.
        """
        self.check()
        return F.linear(self.x, self.weight, self.bias)

    def check(self) -> None:
        if self.x.shape[-1] != self.weight.shape[1]:
            raise ValueError(
                f"x must be [B, T, {self.weight.shape[1]}] for this cell, and has shape {tuple(self.x.shape)}"
            )
        if self.x.dtype != self.weight.dtype and not torch.is_autocast_enabled(self.x.device.type):
            x, weight = (str(t.dtype).removeprefix("torch.") for t in (self.x, self.weight))
            raise ValueError(
                f"x is {x} and the weights are {weight}; write x.to(torch.{weight}), or cell.to(torch.{x})"
            )


def leaves(drive: Any) -> list[Any]:
    """The leaves of a drive, where an `Affine` is one."""
    if isinstance(drive, Affine | Tensor):
        return [drive]
    return pytree.tree_leaves(drive, is_leaf=is_affine)


def inputs(drive: Any) -> list[Tensor]:
    """Of each leaf: what is [B, T, ...] in it."""
    return [leaf.x if is_affine(leaf) else leaf for leaf in leaves(drive)]


class Call(NamedTuple):
    """A scan of a recurrence; arguments as for `Recurrence.walk`."""

    recurrence: Any
    drive: Any
    state: Any
    weights: tuple[Tensor, ...] = ()
    lengths: Tensor | None = None
    resets: Tensor | None = None
    initial: Any = None

    @property
    def arguments(self) -> tuple[Any, ...]:
        """By position."""
        return (self.drive, self.state, *self.weights)

    @property
    def options(self) -> dict[str, Any]:
        """By name."""
        return {"lengths": self.lengths, "resets": self.resets, "initial": self.initial}


def computed(drive: Any) -> Any:
    """The drive as a tree of tensors [B, T, ...], with the values of all `Affine`s in it."""
    if isinstance(drive, Tensor):
        return drive
    return pytree.tree_map(lambda d: d.value() if is_affine(d) else d, drive, is_leaf=is_affine)


def is_affine(drive: Any) -> bool:
    return isinstance(drive, Affine)


@dataclass(frozen=True)
class Kernel:
    recurrence: str
    backend: str
    scan: Scan
    refuses: Refuses  # why it cannot take this call, in words, or None
    scans: Scans | None = None  # several calls at once
    pays: Pays | None = None  # whether it is worth choosing for a drive; None: for any


TABLE: dict[tuple[str, str], Kernel] = {}
ANY = "*"


def kernel(
    recurrence: str, backend: str, refuses: Refuses, scans: Scans | None = None, pays: Pays | None = None
) -> Callable[[Scan], Scan]:
    """Decorator: registers a scan as the `backend` kernel of the recurrence of that name.

    A scan of `ANY` recurrence is derived from the recurrence itself: it and `refuses` get it as their first argument.
    """

    def add(scan: Scan) -> Scan:
        TABLE[recurrence, backend] = Kernel(recurrence, backend, scan, refuses, scans, pays)
        return scan

    return add


def find(recurrence: Any, backend: str) -> Kernel | None:
    """The kernel of a recurrence on a backend: its own, or else the one that takes any."""
    if own := TABLE.get((recurrence.name, backend)):
        return own
    general = TABLE.get((ANY, backend))
    if general is None:
        return None
    scan, refuses = partial(general.scan, recurrence), partial(general.refuses, recurrence)
    return Kernel(recurrence.name, backend, scan, refuses, general.scans, general.pays)
