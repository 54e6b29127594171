"""The table of kernels: which recurrence runs faster on which backend.

A kernel is a scan: `(drive, state, *weights, lengths, resets, initial) -> (out, final leaves)`, with

    drive     an `Affine`, or a tree of tensors [B, T, ...]
    state     the leaves of the state before the first step, each [B, ...]
    lengths   [B] int64 or None: past its length a row rests, its output is zero
    resets    [B, T] bool or None: a new sequence begins at that step
    initial   the leaves of the state that a reset returns to, or None for zeros
    out       [B, T, ...]; final leaves: those of the state after the last step of each row

It must equal `Recurrence.walk` in outputs, final state and gradients, and says in words what it refuses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional as F

Scan = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
Refuses = Callable[..., str | None]


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
            ValueError: x has another width than the weight takes.
        """
        if self.x.shape[-1] != self.weight.shape[1]:
            raise ValueError(
                f"x must be [B, T, {self.weight.shape[1]}] for this cell, and has shape {tuple(self.x.shape)}"
            )
        return F.linear(self.x, self.weight, self.bias)


def computed(drive: Any) -> Any:
    """The drive as a tree of tensors [B, T, ...]."""
    return drive.value() if isinstance(drive, Affine) else drive


@dataclass(frozen=True)
class Kernel:
    recurrence: str
    backend: str
    scan: Scan
    refuses: Refuses  # why it cannot take this call, in words, or None


TABLE: dict[tuple[str, str], Kernel] = {}


def kernel(recurrence: str, backend: str, refuses: Refuses) -> Callable[[Scan], Scan]:
    """Decorator: registers a scan as the `backend` kernel of the recurrence of that name."""

    def add(scan: Scan) -> Scan:
        TABLE[recurrence, backend] = Kernel(recurrence, backend, scan, refuses)
        return scan

    return add
