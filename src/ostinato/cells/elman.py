"""Elman's network (Elman 1990, "Finding structure in time"), lectures S0 section 4.1, S1 4.2, S3 2.3.2, S4 3.2.

    z_t = W_in x_t + b + W_rec h_{t-1}
    h_t = f(z_t)

Glossary:
    The lectures disagree on letters: W_in is U (S0), W_xh (S1, S3), W and W_x (S4); W_rec is W, W_hh, U and W_h.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells
from .activation import activations


class ElmanState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class ElmanGates(NamedTuple):
    z: Tensor  # [B, H] preactivation


def gates(drive: Tensor, state: ElmanState, w_rec: Tensor) -> ElmanGates:
    return ElmanGates(torch.addmm(drive, state.h, w_rec.mT))


def update(f: Callable[[Tensor], Tensor], gates: ElmanGates, state: ElmanState) -> tuple[Tensor, ElmanState]:
    h = f(gates.z)
    return h, ElmanState(h)


RECURRENCES = {name: Recurrence(f"elman_{name}", partial(update, f), gates) for name, f in activations.items()}


@cells.register("elman")
class Elman(Cell[ElmanState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H. activation: f, a name in `activations`."""

    gate_blocks = 1

    def __init__(self, d_in: int, d_hidden: int, activation: str = "tanh") -> None:
        super().__init__()
        activations[activation]  # an unknown name says which are near
        self.recurrence = RECURRENCES[activation]
        self.w_in = nn.Linear(d_in, d_hidden)
        self.w_rec = nn.Parameter(torch.empty(d_hidden, d_hidden))  # [H, H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)

    def initial_state(self, batch: int) -> ElmanState:
        return ElmanState(self.w_rec.new_zeros(batch, len(self.w_rec)))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor]:
        return (self.w_rec,)

    def concatenated(self) -> Tensor:
        """One matrix [H, H + D] for the joined input, z = W [h_{t-1}, x_t] + b (lecture S1 section 3.1)."""
        return torch.cat([self.w_rec, self.w_in.weight], dim=1)

    @torch.no_grad()
    def set_concatenated(self, weight: Tensor, bias: Tensor) -> None:
        """The other way: takes `weight` [H, H + D] and `bias` [H]."""
        if weight.shape != (want := self.concatenated().shape):
            raise ValueError(f"weight must be [H, H + D] = {list(want)} and is {list(weight.shape)}")
        self.w_rec.copy_(weight[:, : len(weight)])
        self.w_in.weight.copy_(weight[:, len(weight) :])
        self.w_in.bias.copy_(bias)
