"""Recurrent additive network (Lee, Levy & Zettlemoyer 2017, Recurrent Additive Networks).

    c̃_t = W_c x_t
    i, f = σ(W x_t + b + U h_{t-1})
    c_t = i ⊙ c̃_t + f ⊙ c_{t-1}
    h_t = g(c_t)

Notes:
    The memory is a weighted sum of linearly transformed inputs: the state acts on it through the gates alone. g is tanh
    or the identity in the paper. h follows from c: the state is c alone. The forget gate's bias starts at 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells
from .activation import activations


class RANDrive(NamedTuple):
    gates: Any  # [B, T, 2H] of i and f
    content: Any  # [B, T, H] c̃


class RANState(NamedTuple):
    c: Tensor  # [B, H] memory


class RANGates(NamedTuple):
    i: Tensor  # [B, H] input
    f: Tensor  # [B, H] forget
    content: Tensor  # [B, H] c̃


def gates(g: Callable[[Tensor], Tensor], drive: RANDrive, state: RANState, w_rec: Tensor) -> RANGates:
    i, f = torch.addmm(drive.gates, g(state.c), w_rec.mT).sigmoid().chunk(2, dim=-1)
    return RANGates(i, f, drive.content)


def update(g: Callable[[Tensor], Tensor], gates: RANGates, state: RANState) -> tuple[Tensor, RANState]:
    c = gates.i * gates.content + gates.f * state.c
    return g(c), RANState(c)


RECURRENCES = {
    name: Recurrence(f"ran_{name}", partial(update, g), partial(gates, g)) for name, g in activations.items()
}


@cells.register("ran")
class RAN(Cell[RANState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H. activation: g, as for Elman. forget_bias: as for LSTM."""

    gate_blocks = 2  # gates stacked in w_in and w_rec
    forget_block = 1  # which of them forgets

    def __init__(self, d_in: int, d_hidden: int, activation: str = "tanh", forget_bias: float = 1.0) -> None:
        super().__init__()
        activations[activation]  # an unknown name says which are near
        self.recurrence = RECURRENCES[activation]
        self.w_in = nn.Linear(d_in, 2 * d_hidden)
        self.w_in_content = nn.Linear(d_in, d_hidden, bias=False)
        self.w_rec = nn.Parameter(torch.empty(2 * d_hidden, d_hidden))  # [2H, H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        nn.init.constant_(self.w_in.bias[d_hidden:], forget_bias)

    def initial_state(self, batch: int) -> RANState:
        return RANState(self.w_rec.new_zeros(batch, self.w_rec.shape[1]))

    def drive(self, x: Tensor) -> RANDrive:
        content = Affine(x, self.w_in_content.weight, None)
        return RANDrive(Affine(x, self.w_in.weight, self.w_in.bias), content)

    def weights(self) -> tuple[Tensor]:
        return (self.w_rec,)
