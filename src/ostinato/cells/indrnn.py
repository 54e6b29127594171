"""Independently recurrent network (Li, Li, Cook, Zhu & Gao 2018, Building a Longer and Deeper RNN).

h_t = f(W x_t + u ⊙ h_{t-1} + b)

Notes:
    Each unit sees only its own past; layers above mix them. f is relu in the paper. u starts uniform on [0, 1], so that
    units remember for different times. Over T steps with relu a gradient grows by u^T: the paper keeps |u| <= 2^(1/T)
    by clipping u after each step of the optimiser, which is left to the training loop.
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


class IndRNNState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class IndRNNGates(NamedTuple):
    z: Tensor  # [B, H] preactivation


def gates(drive: Tensor, state: IndRNNState, u: Tensor) -> IndRNNGates:
    return IndRNNGates(drive + u * state.h)


def update(f: Callable[[Tensor], Tensor], gates: IndRNNGates, state: IndRNNState) -> tuple[Tensor, IndRNNState]:
    h = f(gates.z)
    return h, IndRNNState(h)


RECURRENCES = {name: Recurrence(f"indrnn_{name}", partial(update, f), gates) for name, f in activations.items()}


@cells.register("indrnn")
class IndRNN(Cell[IndRNNState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H. activation: f, a name in `activations`."""

    gate_blocks = 1

    def __init__(self, d_in: int, d_hidden: int, activation: str = "relu") -> None:
        super().__init__()
        activations[activation]  # an unknown name says which are near
        self.recurrence = RECURRENCES[activation]
        self.w_in = nn.Linear(d_in, d_hidden)
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        self.w_rec = nn.Parameter(torch.rand(d_hidden))  # [H] u

    def initial_state(self, batch: int) -> IndRNNState:
        return IndRNNState(self.w_rec.new_zeros(batch, len(self.w_rec)))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor]:
        return (self.w_rec,)
