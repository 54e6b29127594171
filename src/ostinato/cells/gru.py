"""Gated recurrent unit (Cho et al. 2014) in torch's and cuDNN's form: the reset acts after the product with h.

    r, z = σ(W x_t + b + U h_{t-1})
    n = tanh(W_n x_t + b + r ⊙ (U_n h_{t-1} + b_n))
    h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}

Notes:
    Gates are stacked in torch's order r, z, n. torch's two biases are merged where they only act as a sum (r, z);
    the candidate's second one, b_n, stands inside the reset. z keeps the old state; in the lecture (S1 section 4.4)
    it takes the new one, and the reset acts before the product: that cell is `gru_reset_before`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class GRUState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class GRUGates(NamedTuple):
    r: Tensor  # [B, H] reset
    z: Tensor  # [B, H] update: how much of the old state stays
    n: Tensor  # [B, H] candidate


def gates(drive: Tensor, state: GRUState, w_rec: Tensor, b_n: Tensor) -> GRUGates:
    r_in, z_in, n_in = drive.chunk(3, dim=-1)
    r_rec, z_rec, n_rec = (state.h @ w_rec.mT).chunk(3, dim=-1)
    r = (r_in + r_rec).sigmoid()
    return GRUGates(r, (z_in + z_rec).sigmoid(), (n_in + r * (n_rec + b_n)).tanh())


def update(gates: GRUGates, state: GRUState) -> tuple[Tensor, GRUState]:
    h = gates.n + gates.z * (state.h - gates.n)
    return h, GRUState(h)


@cells.register("gru")
class GRU(Cell[GRUState]):
    """x [B, T, D] -> h [B, T, H].

    Args:
        d_in: D. d_hidden: H.
    """

    recurrence = Recurrence("gru", update, gates)
    gate_blocks = 3  # gates stacked in w_in and w_rec

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(d_in, 3 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(3 * d_hidden, d_hidden))  # [3H, H]
        self.b_n = nn.Parameter(torch.empty(d_hidden))  # [H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)

    def initial_state(self, batch: int) -> GRUState:
        return GRUState(self.w_rec.new_zeros(batch, self.w_rec.shape[1]))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor, Tensor]:
        return self.w_rec, self.b_n
