"""A recurrence: one time step, and the scan that repeats it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import kernels, tree
from .kernels import Affine as Affine


class Step(NamedTuple):
    """One time step, seen from inside."""

    out: Tensor  # [B, ...]
    state: Any  # after this step; every leaf [B, ...]
    gates: Any  # what decided it


@dataclass(frozen=True)
class Recurrence:
    """One time step, `gates` then `update`, and the scan that repeats it.

    Both are pure functions of tensors and row-local: row b of the batch never sees row c. Without `gates`
    the drive already is the gates: the whole motion is known before the first step is taken.

    Attributes:
        name: kernels are registered under it, so it names the mathematics: same name, same result.
        update: (gates, state) -> (out, state).
        gates: (drive_t, state, *weights) -> gates; None: the drive is the gates.
        linear: the gates ignore the state.
    """

    name: str
    update: Callable[..., tuple[Tensor, Any]]
    gates: Callable[..., Any] | None = None
    linear: bool = False

    def step(self, drive: Any, state: Any, *weights: Tensor) -> Step:
        """One step from a drive whose leaves are [B, ...]."""
        gates = drive if self.gates is None else self.gates(drive, state, *weights)
        return Step(*self.update(gates, state), gates)

    def walk(
        self,
        drive: Any,
        state: Any,
        *weights: Tensor,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        initial: Any = None,
    ) -> Iterator[Step]:
        """The reference scan, step by step, and the oracle of every kernel.

        Args:
            drive: an `Affine`, or a tree of [B, T, ...].
            state: before the first step; every leaf [B, ...].
            lengths: [B] int64. Past its length a row rests: same state, output zero.
            resets: [B, T] bool. A new sequence begins AT that step, from `initial`.
            initial: the state that a reset returns to; zeros when None.
        """
        drive = kernels.computed(drive)
        fresh = tree.map(torch.zeros_like, state) if initial is None else initial
        for t in range(tree.leaves(drive)[0].shape[1]):
            before = state if resets is None else tree.where(resets[:, t], fresh, state)
            new = self.step(tree.at(drive, t), before, *weights)
            if lengths is not None:
                rest = (torch.zeros_like(new.out), state)
                new = Step(*tree.where(t < lengths, new[:2], rest), new.gates)
            state = new.state
            yield new

    def scan(
        self,
        drive: Any,
        state: Any,
        *weights: Tensor,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        initial: Any = None,
    ) -> tuple[Tensor, Any]:
        """All steps: (out [B, T, ...], the state after each row's last step). Arguments as for `walk`.

        Runs the fastest kernel that takes the call, else the walk; `explain` says which.
        """
        options = {"lengths": lengths, "resets": resets, "initial": initial}
        kernel = kernels.choose(self, drive, state, *weights, **options)
        if kernel is not None:
            return kernels.run(kernel, drive, state, *weights, **options)
        outs = []
        for out, after, _ in self.walk(drive, state, *weights, **options):
            outs.append(out)
            state = after
        return torch.stack(outs, dim=1), state

    def explain(self, drive: Any, state: Any, *weights: Tensor, **options: Any) -> str:
        """Which kernel would run this call, and why not the others: one line a backend."""
        return kernels.explain(self, drive, state, *weights, **options)
