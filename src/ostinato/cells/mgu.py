"""Minimal gated unit (Zhou et al. 2016): one gate that both forgets and resets.

f = σ(W_f x_t + b_f + U_f h_{t-1})
h̃ = tanh(W_h x_t + b_h + U_h (f ⊙ h_{t-1}))
h_t = (1 - f) ⊙ h_{t-1} + f ⊙ h̃
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class MGUState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class MGUGates(NamedTuple):
    f: Tensor  # [B, H] forget
    n: Tensor  # [B, H] candidate h̃


def gates(drive: Tensor, state: MGUState, w_rec: Tensor) -> MGUGates:
    d_hidden = state.h.shape[-1]
    f = torch.addmm(drive[..., :d_hidden], state.h, w_rec[:d_hidden].mT).sigmoid()
    return MGUGates(f, torch.addmm(drive[..., d_hidden:], f * state.h, w_rec[d_hidden:].mT).tanh())


def update(gates: MGUGates, state: MGUState) -> tuple[Tensor, MGUState]:
    h = state.h + gates.f * (gates.n - state.h)
    return h, MGUState(h)


@cells.register("mgu")
class MGU(Cell[MGUState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H."""

    recurrence = Recurrence("mgu", update, gates)
    gate_blocks = 2  # gates stacked in w_in and w_rec

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(d_in, 2 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(2 * d_hidden, d_hidden))  # [2H, H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)

    def initial_state(self, batch: int) -> MGUState:
        return MGUState(self.w_rec.new_zeros(batch, self.w_rec.shape[1]))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor]:
        return (self.w_rec,)
