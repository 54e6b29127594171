"""FastGRNN (Kusupati et al. 2018): gate and candidate share their matrices, for models of a few kilobytes.

    z_t = σ(W x_t + U h_{t-1} + b_z)
    h̃_t = tanh(W x_t + U h_{t-1} + b_h)
    h_t = (ζ (1 - z_t) + ν) ⊙ h̃_t + z_t ⊙ h_{t-1},   ζ = σ(zeta), ν = σ(nu)

With ranks, W and U are products of two thin matrices.

Notes:
    The paper's sparse and quantised weights are a matter of training, not of the step. `zeta`, `nu` and the biases
    start as in the authors' code.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class FastGRNNState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class FastGRNNGates(NamedTuple):
    z: Tensor  # [B, H] update: how much of the old state stays
    s: Tensor  # [B, H] how much of the candidate comes in, ζ (1 - z) + ν
    n: Tensor  # [B, H] candidate h̃


def gates(
    drive: Tensor, state: FastGRNNState, zeta: Tensor, nu: Tensor, b_z: Tensor, b_h: Tensor, *w_rec: Tensor
) -> FastGRNNGates:
    seen = state.h
    for w in w_rec:
        seen = seen @ w.mT
    seen = drive + seen
    z = (seen + b_z).sigmoid()
    return FastGRNNGates(z, zeta * (1 - z) + nu, (seen + b_h).tanh())


def update(gates: FastGRNNGates, state: FastGRNNState) -> tuple[Tensor, FastGRNNState]:
    h = gates.s * gates.n + gates.z * state.h
    return h, FastGRNNState(h)


@cells.register("fastgrnn")
class FastGRNN(Cell[FastGRNNState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H. rank_in, rank_rec: of W and U; None: full."""

    recurrence = Recurrence("fastgrnn", update, gates)
    gate_blocks = 1

    def __init__(self, d_in: int, d_hidden: int, rank_in: int | None = None, rank_rec: int | None = None) -> None:
        super().__init__()
        self.w_in_low = None if rank_in is None else nn.Linear(d_in, rank_in, bias=False)
        self.w_in = nn.Linear(d_in if rank_in is None else rank_in, d_hidden, bias=False)
        self.w_rec_low = None if rank_rec is None else nn.Parameter(torch.empty(rank_rec, d_hidden))  # [R, H]
        self.w_rec = nn.Parameter(torch.empty(d_hidden, d_hidden if rank_rec is None else rank_rec))  # [H, H or R]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        self.b_z, self.b_h = nn.Parameter(torch.ones(d_hidden)), nn.Parameter(torch.ones(d_hidden))
        self.zeta, self.nu = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(-4.0))

    def initial_state(self, batch: int) -> FastGRNNState:
        return FastGRNNState(self.w_rec.new_zeros(batch, len(self.w_rec)))

    def drive(self, x: Tensor) -> Affine:
        low = x if self.w_in_low is None else Affine(x, self.w_in_low.weight, None).value()
        return Affine(low, self.w_in.weight, None)

    def weights(self) -> tuple[Tensor, ...]:
        w_rec = (self.w_rec,) if self.w_rec_low is None else (self.w_rec_low, self.w_rec)
        return self.zeta.sigmoid(), self.nu.sigmoid(), self.b_z, self.b_h, *w_rec
