"""Gated recurrent unit as in lecture S1 section 4.4 (Cho et al. 2014): the reset acts before the product.

    z, r = σ(W x_t + b + U h_{t-1})
    h̃ = tanh(W_h x_t + b_h + U_h (r ⊙ h_{t-1}))
    h_t = (1 - z) ⊙ h_{t-1} + z ⊙ h̃

Notes:
    Gates are stacked z, r, h̃. Cho et al. write z ⊙ h_{t-1} + (1 - z) ⊙ h̃, the sense that torch and Keras
    (`reset_after=False`) have too; `other_gate_sense` converts weights.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class GRUResetBeforeState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class GRUResetBeforeGates(NamedTuple):
    z: Tensor  # [B, H] update: how much of the candidate comes in
    r: Tensor  # [B, H] reset
    n: Tensor  # [B, H] candidate h̃


def gates(drive: Tensor, state: GRUResetBeforeState, w_rec: Tensor) -> GRUResetBeforeGates:
    split = 2 * state.h.shape[-1]
    z, r = torch.addmm(drive[..., :split], state.h, w_rec[:split].mT).sigmoid().chunk(2, dim=-1)
    return GRUResetBeforeGates(z, r, torch.addmm(drive[..., split:], r * state.h, w_rec[split:].mT).tanh())


def update(gates: GRUResetBeforeGates, state: GRUResetBeforeState) -> tuple[Tensor, GRUResetBeforeState]:
    h = state.h + gates.z * (gates.n - state.h)
    return h, GRUResetBeforeState(h)


@cells.register("gru_reset_before")
class GRUResetBefore(Cell[GRUResetBeforeState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H."""

    recurrence = Recurrence("gru_reset_before", update, gates)
    gate_blocks = 3  # gates stacked in w_in and w_rec

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(d_in, 3 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(3 * d_hidden, d_hidden))  # [3H, H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)

    def initial_state(self, batch: int) -> GRUResetBeforeState:
        return GRUResetBeforeState(self.w_rec.new_zeros(batch, self.w_rec.shape[1]))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor]:
        return (self.w_rec,)

    @torch.no_grad()
    def other_gate_sense(self) -> None:
        """Converts the weights between the two senses of z, in place: 1 - σ(a) = σ(-a), so the rows of z change sign.

        Call it after loading weights written for h_t = z ⊙ h_{t-1} + (1 - z) ⊙ h̃, or before giving ours away.
        """
        for p in (self.w_in.weight, self.w_in.bias, self.w_rec):
            p[: self.w_rec.shape[1]].neg_()
