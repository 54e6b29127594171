"""Long short-term memory with layer normalisation (Ba, Kiros & Hinton 2016, Layer Normalization, supplement).

    i, f, g, o = LN(U h_{t-1}; α_1) + LN(W x_t; α_2) + b
    c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
    h_t = σ(o) ⊙ tanh(LN(c_t; α_3, β_3))
    LN(z; α, β) = (z - mean(z)) / sqrt(var(z) + ε) ⊙ α + β

Notes:
    All four gates are normalised as one vector; c itself stays as it is. The paper adds β_1 + β_2 + b, which only ever
    act as a sum: one bias. It has no ε; 1e-5 here. Stacked i, f, g, o; the forget gate's bias starts at 1 as in `lstm`.
    α_1 starts at 0.1 (Cooijmans et al. 2016, for batch normalisation), not at the paper's 1: at 1 a young network
    amplifies small differences, and rounding in float32 grows a hundredfold over 60 steps.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class LayerNormLSTMState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output
    c: Tensor  # [B, H] memory


class LayerNormLSTMGates(NamedTuple):
    i: Tensor  # [B, H] input
    f: Tensor  # [B, H] forget
    g: Tensor  # [B, H] candidate
    o: Tensor  # [B, H] output
    c: Tensor  # [B, H] memory after the step
    n: Tensor  # [B, H] that memory normalised


def gates(
    drive: Tensor, state: LayerNormLSTMState, w_rec: Tensor, gain_in: Tensor, bias: Tensor, gain_rec: Tensor,
    gain_c: Tensor, shift_c: Tensor,
) -> LayerNormLSTMGates:  # fmt: skip
    # The input is normalised here, not in the drive: a kernel does it on the way.
    read = F.layer_norm(drive, gain_in.shape, gain_in, bias)
    i, f, g, o = (read + F.layer_norm(state.h @ w_rec.mT, gain_rec.shape, gain_rec)).chunk(4, dim=-1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * state.c + i * g
    return LayerNormLSTMGates(i, f, g, o, c, F.layer_norm(c, gain_c.shape, gain_c, shift_c))


def update(gates: LayerNormLSTMGates, state: LayerNormLSTMState) -> tuple[Tensor, LayerNormLSTMState]:
    h = gates.o * gates.n.tanh()
    return h, LayerNormLSTMState(h, gates.c)


@cells.register("layernorm_lstm")
class LayerNormLSTM(Cell[LayerNormLSTMState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H. forget_bias: as for LSTM. gain_rec: α_1 at the start."""

    recurrence = Recurrence("layernorm_lstm", update, gates)
    gate_blocks = 4  # gates stacked in w_in and w_rec
    forget_block = 1  # which of them forgets

    def __init__(self, d_in: int, d_hidden: int, forget_bias: float = 1.0, gain_rec: float = 0.1) -> None:
        super().__init__()
        self.w_in = nn.Linear(d_in, 4 * d_hidden)  # its bias is b, added after the normalisation
        self.w_rec = nn.Parameter(torch.empty(4 * d_hidden, d_hidden))  # [4H, H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        nn.init.constant_(self.w_in.bias[d_hidden : 2 * d_hidden], forget_bias)
        self.gain_in = nn.Parameter(torch.ones(4 * d_hidden))  # [4H] α_2
        self.gain_rec = nn.Parameter(torch.full((4 * d_hidden,), float(gain_rec)))  # [4H] α_1
        self.gain_c, self.shift_c = nn.Parameter(torch.ones(d_hidden)), nn.Parameter(torch.zeros(d_hidden))  # [H]

    def initial_state(self, batch: int) -> LayerNormLSTMState:
        return LayerNormLSTMState(*(self.w_rec.new_zeros(batch, self.w_rec.shape[1]) for _ in range(2)))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, None)

    def weights(self) -> tuple[Tensor, ...]:
        return self.w_rec, self.gain_in, self.w_in.bias, self.gain_rec, self.gain_c, self.shift_c
