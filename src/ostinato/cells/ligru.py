"""Light gated recurrent unit, Li-GRU (Ravanelli, Brakel, Omologo & Bengio 2018): no reset gate, and a ReLU.

    z_t = σ(W_z x_t + b_z + U_z h_{t-1})
    h̃_t = ReLU(W_h x_t + b_h + U_h h_{t-1})
    h_t = z_t ⊙ h_{t-1} + (1 - z_t) ⊙ h̃_t

Notes:
    Gates are stacked z, h̃. Here z keeps, unlike in our `gru_reset_before`.
    The paper normalises W x_t over the batch and so has no b. Such a norm is left out: while training, rows would see
    each other, and the padding of ragged ones. Without it h is not bounded: the recurrent weights start orthogonal,
    as in the paper, and gradients want clipping.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class LiGRUState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class LiGRUGates(NamedTuple):
    z: Tensor  # [B, H] update: how much of the old state stays
    n: Tensor  # [B, H] candidate h̃


def gates(drive: Tensor, state: LiGRUState, w_rec: Tensor) -> LiGRUGates:
    z, n = torch.addmm(drive, state.h, w_rec.mT).chunk(2, dim=-1)
    return LiGRUGates(z.sigmoid(), n.relu())


def update(gates: LiGRUGates, state: LiGRUState) -> tuple[Tensor, LiGRUState]:
    h = gates.n + gates.z * (state.h - gates.n)
    return h, LiGRUState(h)


@cells.register("ligru")
class LiGRU(Cell[LiGRUState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H."""

    recurrence = Recurrence("ligru", update, gates)
    gate_blocks = 2  # gates stacked in w_in and w_rec

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(d_in, 2 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(2 * d_hidden, d_hidden))  # [2H, H]
        for p in self.w_in.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        for block in self.w_rec.detach().chunk(2):
            nn.init.orthogonal_(block)

    def initial_state(self, batch: int) -> LiGRUState:
        return LiGRUState(self.w_rec.new_zeros(batch, self.w_rec.shape[1]))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor]:
        return (self.w_rec,)
