"""LSTM with a recurrent projection (Sak, Senior & Beaufays 2014, LSTM Architectures for Large Scale Acoustic Modeling).

    i, f, g, o = W x_t + b + U h_{t-1}
    c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
    h_t = W_proj (σ(o) ⊙ tanh(c_t))

Notes:
    What is fed back and given out has P features, fewer than the memory's H: U costs 4 H P products instead of 4 H².
    This is torch's `proj_size`: without the paper's peepholes and without its second projection, which is not fed
    back. Gates are stacked in torch's order i, f, g, o; the forget gate's bias starts at 1, as in `lstm`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class ProjectedLSTMState(NamedTuple):
    h: Tensor  # [B, P] projected, also the output
    c: Tensor  # [B, H] memory


class ProjectedLSTMGates(NamedTuple):
    i: Tensor  # [B, H] input
    f: Tensor  # [B, H] forget
    g: Tensor  # [B, H] candidate
    o: Tensor  # [B, H] output
    c: Tensor  # [B, H] memory after the step
    h: Tensor  # [B, P] projected


def gates(drive: Tensor, state: ProjectedLSTMState, w_rec: Tensor, w_proj: Tensor) -> ProjectedLSTMGates:
    i, f, g, o = torch.addmm(drive, state.h, w_rec.mT).chunk(4, dim=-1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * state.c + i * g
    return ProjectedLSTMGates(i, f, g, o, c, (o * c.tanh()) @ w_proj.mT)


def update(gates: ProjectedLSTMGates, state: ProjectedLSTMState) -> tuple[Tensor, ProjectedLSTMState]:
    return gates.h, ProjectedLSTMState(gates.h, gates.c)


@cells.register("projected_lstm")
class ProjectedLSTM(Cell[ProjectedLSTMState]):
    """x [B, T, D] -> h [B, T, P]. Args: d_in: D. d_hidden: H. d_proj: P; None: H. forget_bias: as for LSTM."""

    recurrence = Recurrence("projected_lstm", update, gates)
    gate_blocks = 4  # gates stacked in w_in and w_rec
    forget_block = 1  # which of them forgets

    def __init__(self, d_in: int, d_hidden: int, d_proj: int | None = None, forget_bias: float = 1.0) -> None:
        super().__init__()
        d_proj = d_hidden if d_proj is None else d_proj
        if not 1 <= d_proj <= d_hidden:
            raise ValueError(f"d_proj must lie in 1..{d_hidden}, the size of the memory, and is {d_proj}")
        self.w_in = nn.Linear(d_in, 4 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(4 * d_hidden, d_proj))  # [4H, P]
        self.w_proj = nn.Parameter(torch.empty(d_proj, d_hidden))  # [P, H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        nn.init.constant_(self.w_in.bias[d_hidden : 2 * d_hidden], forget_bias)

    def initial_state(self, batch: int) -> ProjectedLSTMState:
        return ProjectedLSTMState(*(self.w_proj.new_zeros(batch, size) for size in self.w_proj.shape))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor, Tensor]:
        return self.w_rec, self.w_proj
