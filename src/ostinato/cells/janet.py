"""JANET: forget gate alone (van der Westhuizen & Lasenby 2018, The Unreasonable Effectiveness of the Forget Gate).

    s = W_f x_t + b_f + U_f h_{t-1}
    g = tanh(W_g x_t + b_g + U_g h_{t-1})
    h_t = σ(s) ⊙ h_{t-1} + (1 - σ(s - β)) ⊙ g

Notes:
    The paper writes c_t, and h_t = c_t. With β > 0 more comes in than is forgotten; β is no parameter, 1 in the paper.
    `t_max` starts b_f at log u, u uniform on [1, t_max - 1], so that units remember for 1 to t_max steps (chrono
    initialisation, Tallec & Ollivier 2018), as the paper does; without it b_f starts at 1. Stacked f, g.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class JANETState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class JANETGates(NamedTuple):
    f: Tensor  # [B, H] forget
    i: Tensor  # [B, H] how much of the candidate comes in
    g: Tensor  # [B, H] candidate


def gates(drive: Tensor, state: JANETState, w_rec: Tensor, beta: Tensor) -> JANETGates:
    s, g = torch.addmm(drive, state.h, w_rec.mT).chunk(2, dim=-1)
    return JANETGates(s.sigmoid(), 1 - (s - beta).sigmoid(), g.tanh())


def update(gates: JANETGates, state: JANETState) -> tuple[Tensor, JANETState]:
    h = gates.f * state.h + gates.i * gates.g
    return h, JANETState(h)


@cells.register("janet")
class JANET(Cell[JANETState]):
    """x [B, T, D] -> h [B, T, H].

    Args:
        d_in: D. d_hidden: H. beta: β.
        forget_bias: the forget gate's bias at the start. t_max: the longest time to remember; it takes its place.
    """

    recurrence = Recurrence("janet", update, gates)
    gate_blocks = 2  # gates stacked in w_in and w_rec
    forget_block = 0  # which of them forgets
    beta: Tensor

    def __init__(
        self, d_in: int, d_hidden: int, beta: float = 1.0, forget_bias: float = 1.0, t_max: int | None = None
    ) -> None:
        super().__init__()
        if t_max is not None and t_max < 2:
            raise ValueError(f"t_max must be at least 2 steps, the longest time to remember, and is {t_max}")
        self.w_in = nn.Linear(d_in, 2 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(2 * d_hidden, d_hidden))  # [2H, H]
        # A weight that does not learn, so that one kernel serves every β.
        self.register_buffer("beta", torch.tensor(float(beta)), persistent=False)
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)
        with torch.no_grad():
            b_f = self.w_in.bias[:d_hidden]
            b_f.fill_(forget_bias) if t_max is None else b_f.uniform_(1, t_max - 1).log_()

    def initial_state(self, batch: int) -> JANETState:
        return JANETState(self.w_rec.new_zeros(batch, self.w_rec.shape[1]))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor, Tensor]:
        return self.w_rec, self.beta
