"""Long expressive memory (Rusch, Mishra, Erichson & Mahoney 2022): two states, each with time steps of its own.

    Δt_n = Δt σ(W_1 y_{n-1} + V_1 u_n + b_1)
    Δt̄_n = Δt σ(W_2 y_{n-1} + V_2 u_n + b_2)
    z_n = (1 - Δt_n) ⊙ z_{n-1} + Δt_n ⊙ tanh(W_z y_{n-1} + V_z u_n + b_z)
    y_n = (1 - Δt̄_n) ⊙ y_{n-1} + Δt̄_n ⊙ tanh(W_y z_n + V_y u_n + b_y)

Glossary:
    u_n is our x_t. V is `w_in`, W is `w_rec`, both stacked in the order of the equations.

Notes:
    z_n is known before y_n moves, and a product acts on it: so it is among the gates.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class LEMState(NamedTuple):
    y: Tensor  # [B, H] hidden, also the output
    z: Tensor  # [B, H] memory


class LEMGates(NamedTuple):
    dt: Tensor  # [B, H] time step of the memory
    dt_bar: Tensor  # [B, H] time step of the output
    z: Tensor  # [B, H] the memory after this step
    n: Tensor  # [B, H] where the output goes


def gates(drive: Tensor, state: LEMState, w_rec: Tensor, dt: Tensor) -> LEMGates:
    split = 3 * state.y.shape[-1]
    slow, slow_bar, m = torch.addmm(drive[..., :split], state.y, w_rec[:split].mT).chunk(3, dim=-1)
    step = dt * slow.sigmoid()
    z = state.z + step * (m.tanh() - state.z)
    n = torch.addmm(drive[..., split:], z, w_rec[split:].mT).tanh()
    return LEMGates(step, dt * slow_bar.sigmoid(), z, n)


def update(gates: LEMGates, state: LEMState) -> tuple[Tensor, LEMState]:
    y = state.y + gates.dt_bar * (gates.n - state.y)
    return y, LEMState(y, gates.z)


@cells.register("lem")
class LEM(Cell[LEMState]):
    """x [B, T, D] -> y [B, T, H]. Args: d_in: D. d_hidden: H. dt: Δt, the largest time step; in (0, 1] it is stable."""

    recurrence = Recurrence("lem", update, gates)
    gate_blocks = 4  # gates stacked in w_in and w_rec

    def __init__(self, d_in: int, d_hidden: int, dt: float = 1.0) -> None:
        super().__init__()
        self.dt = dt
        self.w_in = nn.Linear(d_in, 4 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(4 * d_hidden, d_hidden))  # [4H, H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)

    def initial_state(self, batch: int) -> LEMState:
        zeros = self.w_rec.new_zeros(batch, self.w_rec.shape[1])
        return LEMState(zeros, zeros)

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor, Tensor]:
        return self.w_rec, self.w_rec.new_full((), self.dt)
