"""LSTM with peepholes (Gers & Schmidhuber 2000, Recurrent Nets that Time and Count; Graves 2013, eq. 7 to 11).

    i, f, g, o = W x_t + b + U h_{t-1}
    i, f = σ(i + p_i ⊙ c_{t-1}), σ(f + p_f ⊙ c_{t-1})
    c_t = f ⊙ c_{t-1} + i ⊙ tanh(g)
    o = σ(o + p_o ⊙ c_t)
    h_t = o ⊙ tanh(c_t)

Notes:
    i and f see the memory before the step, o the one after it. The peepholes are diagonal: one weight a unit.
    Gates are stacked in torch's order i, f, g, o; the forget gate's bias starts at 1, as in `lstm`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class PeepholeLSTMState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output
    c: Tensor  # [B, H] memory


class PeepholeLSTMGates(NamedTuple):
    i: Tensor  # [B, H] input
    f: Tensor  # [B, H] forget
    g: Tensor  # [B, H] candidate
    o: Tensor  # [B, H] output
    c: Tensor  # [B, H] memory after the step, which o sees


def gates(drive: Tensor, state: PeepholeLSTMState, w_rec: Tensor, peepholes: Tensor) -> PeepholeLSTMGates:
    i, f, g, o = torch.addmm(drive, state.h, w_rec.mT).chunk(4, dim=-1)
    p_i, p_f, p_o = peepholes.chunk(3)
    i, f, g = (i + p_i * state.c).sigmoid(), (f + p_f * state.c).sigmoid(), g.tanh()
    c = f * state.c + i * g
    return PeepholeLSTMGates(i, f, g, (o + p_o * c).sigmoid(), c)


def update(gates: PeepholeLSTMGates, state: PeepholeLSTMState) -> tuple[Tensor, PeepholeLSTMState]:
    h = gates.o * gates.c.tanh()
    return h, PeepholeLSTMState(h, gates.c)


@cells.register("peephole_lstm")
class PeepholeLSTM(Cell[PeepholeLSTMState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H. forget_bias: the forget gate's bias at the start."""

    recurrence = Recurrence("peephole_lstm", update, gates)
    gate_blocks = 4  # gates stacked in w_in and w_rec
    forget_block = 1  # which of them forgets

    def __init__(self, d_in: int, d_hidden: int, forget_bias: float = 1.0) -> None:
        super().__init__()
        self.d_hidden = d_hidden
        self.w_in = nn.Linear(d_in, 4 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(4 * d_hidden, d_hidden))  # [4H, H]
        self.peepholes = nn.Parameter(torch.empty(3 * d_hidden))  # [3H] of i, f, o
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        nn.init.constant_(self.w_in.bias[d_hidden : 2 * d_hidden], forget_bias)

    def initial_state(self, batch: int) -> PeepholeLSTMState:
        zeros = self.w_rec.new_zeros(batch, self.d_hidden)
        return PeepholeLSTMState(zeros, zeros)

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor, Tensor]:
        return self.w_rec, self.peepholes
