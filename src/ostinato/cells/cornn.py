"""Coupled oscillatory recurrent network, coRNN (Rusch & Mishra 2021): damped oscillators that drive each other.

    z_n = z_{n-1} + Δt (tanh(W y_{n-1} + 𝒲 z_{n-1} + V u_n + b) - γ y_{n-1} - ε z_{n-1})
    y_n = y_{n-1} + Δt z_n

Glossary:
    u_n is our x_t. V is `w_in`; W and 𝒲 stand side by side in `w_rec`.

Notes:
    The damping takes z_{n-1}, as in the authors' code; the paper leaves the choice between it and z_n.
    Δt, γ and ε are by default those of the authors' sequential MNIST.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class CoRNNState(NamedTuple):
    y: Tensor  # [B, H] where the oscillators are, also the output
    z: Tensor  # [B, H] their velocity


class CoRNNGates(NamedTuple):
    f: Tensor  # [B, H] force
    z: Tensor  # [B, H] velocity after this step
    dy: Tensor  # [B, H] the way of this step


def gates(drive: Tensor, state: CoRNNState, w_rec: Tensor, dt: Tensor, gamma: Tensor, epsilon: Tensor) -> CoRNNGates:
    f = torch.addmm(drive, torch.cat([state.y, state.z], dim=-1), w_rec.mT).tanh()
    z = state.z + dt * (f - gamma * state.y - epsilon * state.z)
    return CoRNNGates(f, z, dt * z)


def update(gates: CoRNNGates, state: CoRNNState) -> tuple[Tensor, CoRNNState]:
    y = state.y + gates.dy
    return y, CoRNNState(y, gates.z)


@cells.register("cornn")
class CoRNN(Cell[CoRNNState]):
    """x [B, T, D] -> y [B, T, H].

    Args:
        d_in: D. d_hidden: H.
        dt: Δt, the time step. gamma: γ, the oscillators' frequency. epsilon: ε, their damping.
    """

    recurrence = Recurrence("cornn", update, gates)
    gate_blocks = 1

    def __init__(self, d_in: int, d_hidden: int, dt: float = 0.042, gamma: float = 2.7, epsilon: float = 4.7) -> None:
        super().__init__()
        self.dt, self.gamma, self.epsilon = dt, gamma, epsilon
        self.w_in = nn.Linear(d_in, d_hidden)
        self.w_rec = nn.Parameter(torch.empty(d_hidden, 2 * d_hidden))  # [H, 2H]
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)

    def initial_state(self, batch: int) -> CoRNNState:
        zeros = self.w_rec.new_zeros(batch, len(self.w_rec))
        return CoRNNState(zeros, zeros)

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor, ...]:
        return self.w_rec, *(self.w_rec.new_full((), c) for c in (self.dt, self.gamma, self.epsilon))
