"""Gated recurrent unit with layer normalisation (Ba, Kiros & Hinton 2016, Layer Normalization, supplement).

    z, r = LN(U h_{t-1}; α_1) + LN(W x_t; α_2) + b
    ĥ = tanh(LN(W_h x_t; α_3) + b_h + σ(r) ⊙ (LN(U_h h_{t-1}; α_4) + b_n))
    h_t = (1 - σ(z)) ⊙ h_{t-1} + σ(z) ⊙ ĥ

Notes:
    This is the paper's form: z takes the candidate in, the reset acts after the product with h, and z and r are
    normalised as one vector, apart from the candidate. β_1 and β_2 only ever act as a sum: b; β_3 is b_h, β_4 b_n.
    LN as in `layernorm_lstm`, with the same ε. Gates are stacked z, r, ĥ.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class LayerNormGRUState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class LayerNormGRUGates(NamedTuple):
    z: Tensor  # [B, H] update: how much of the candidate comes in
    r: Tensor  # [B, H] reset
    n: Tensor  # [B, H] candidate ĥ


def normalised(a: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """z with r [..., 2H], and the candidate [..., H], each normalised by itself."""
    split = len(gain) // 3 * 2
    gain_zr, gain_n = gain[:split], gain[split:]
    return F.layer_norm(a[..., :split], gain_zr.shape, gain_zr), F.layer_norm(a[..., split:], gain_n.shape, gain_n)


def gates(
    drive: Tensor, state: LayerNormGRUState, w_rec: Tensor, gain_in: Tensor, bias: Tensor, gain_rec: Tensor, b_n: Tensor
) -> LayerNormGRUGates:
    # The input is normalised here, not in the drive: a kernel does it on the way.
    z_in, r_in, n_in = (torch.cat(normalised(drive, gain_in), dim=-1) + bias).chunk(3, dim=-1)
    zr_rec, n_rec = normalised(state.h @ w_rec.mT, gain_rec)
    z_rec, r_rec = zr_rec.chunk(2, dim=-1)
    r = (r_in + r_rec).sigmoid()
    return LayerNormGRUGates((z_in + z_rec).sigmoid(), r, (n_in + r * (n_rec + b_n)).tanh())


def update(gates: LayerNormGRUGates, state: LayerNormGRUState) -> tuple[Tensor, LayerNormGRUState]:
    h = state.h + gates.z * (gates.n - state.h)
    return h, LayerNormGRUState(h)


@cells.register("layernorm_gru")
class LayerNormGRU(Cell[LayerNormGRUState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H."""

    recurrence = Recurrence("layernorm_gru", update, gates)
    gate_blocks = 3  # gates stacked in w_in and w_rec

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(d_in, 3 * d_hidden)  # its bias is b and b_h, added after the normalisation
        self.w_rec = nn.Parameter(torch.empty(3 * d_hidden, d_hidden))  # [3H, H]
        self.b_n = nn.Parameter(torch.empty(d_hidden))  # [H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        self.gain_in, self.gain_rec = (nn.Parameter(torch.ones(3 * d_hidden)) for _ in range(2))  # [3H]

    def initial_state(self, batch: int) -> LayerNormGRUState:
        return LayerNormGRUState(self.w_rec.new_zeros(batch, len(self.b_n)))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, None)

    def weights(self) -> tuple[Tensor, ...]:
        return self.w_rec, self.gain_in, self.w_in.bias, self.gain_rec, self.b_n
