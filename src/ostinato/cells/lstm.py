"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000), lecture S1 section 4.3.

    i, f, g, o = W x_t + b + U h_{t-1}
    c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
    h_t = σ(o) ⊙ tanh(c_t)

Notes:
    Gates are stacked in torch's order i, f, g, o. One bias instead of torch's two, which only ever act as a sum.
    The forget gate's bias starts at 1 (Jozefowicz et al. 2015), so that a young network remembers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class LSTMState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output
    c: Tensor  # [B, H] memory


class LSTMGates(NamedTuple):
    i: Tensor  # [B, H] input
    f: Tensor  # [B, H] forget
    g: Tensor  # [B, H] candidate
    o: Tensor  # [B, H] output


def gates(drive: Tensor, state: LSTMState, w_rec: Tensor) -> LSTMGates:
    i, f, g, o = torch.addmm(drive, state.h, w_rec.mT).chunk(4, dim=-1)
    return LSTMGates(i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid())


def update(gates: LSTMGates, state: LSTMState) -> tuple[Tensor, LSTMState]:
    c = gates.f * state.c + gates.i * gates.g
    h = gates.o * c.tanh()
    return h, LSTMState(h, c)


@cells.register("lstm")
class LSTM(Cell[LSTMState]):
    """x [B, T, D] -> h [B, T, H].

    Args:
        d_in: D. d_hidden: H.
        forget_bias: the forget gate's bias at the start.
    """

    recurrence = Recurrence("lstm", update, gates)
    gate_blocks = 4  # gates stacked in w_in and w_rec
    forget_block = 1  # which of them forgets

    def __init__(self, d_in: int, d_hidden: int, forget_bias: float = 1.0) -> None:
        super().__init__()
        self.d_hidden = d_hidden
        self.w_in = nn.Linear(d_in, 4 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(4 * d_hidden, d_hidden))  # [4H, H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        nn.init.constant_(self.w_in.bias[d_hidden : 2 * d_hidden], forget_bias)

    def initial_state(self, batch: int) -> LSTMState:
        zeros = self.w_rec.new_zeros(batch, self.d_hidden)
        return LSTMState(zeros, zeros)

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor]:
        return (self.w_rec,)
