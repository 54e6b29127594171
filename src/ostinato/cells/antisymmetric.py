"""AntisymmetricRNN (Chang, Chen, Haber & Chi 2019): a step along an ODE that neither grows nor fades.

    A = W - Wᵀ - γ I
    h_t = h_{t-1} + ε tanh(A h_{t-1} + V x_t + b)                 gated=False
    z_t = σ(A h_{t-1} + V_z x_t + b_z)                            gated=True
    h_t = h_{t-1} + ε z_t ⊙ tanh(A h_{t-1} + V x_t + b)

Notes:
    The eigenvalues of W - Wᵀ are imaginary; γ damps what the finite step ε would make grow. A is computed once a call.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells


class AntisymmetricState(NamedTuple):
    h: Tensor  # [B, H] hidden, also the output


class AntisymmetricGates(NamedTuple):
    e: Tensor  # [B, H] size of the step: ε, or ε z_t
    n: Tensor  # [B, H] its direction


def gates(drive: Tensor, state: AntisymmetricState, a: Tensor, epsilon: Tensor) -> AntisymmetricGates:
    n = torch.addmm(drive, state.h, a.mT).tanh()
    return AntisymmetricGates(epsilon * torch.ones_like(n), n)


def gates_gated(drive: Tensor, state: AntisymmetricState, a: Tensor, epsilon: Tensor) -> AntisymmetricGates:
    direction, z = drive.chunk(2, dim=-1)
    seen = state.h @ a.mT
    return AntisymmetricGates(epsilon * (z + seen).sigmoid(), (direction + seen).tanh())


def update(gates: AntisymmetricGates, state: AntisymmetricState) -> tuple[Tensor, AntisymmetricState]:
    h = state.h + gates.e * gates.n
    return h, AntisymmetricState(h)


PLAIN, GATED = Recurrence("antisymmetric", update, gates), Recurrence("antisymmetric_gated", update, gates_gated)


@cells.register("antisymmetric")
class Antisymmetric(Cell[AntisymmetricState]):
    """x [B, T, D] -> h [B, T, H]. Args: d_in: D. d_hidden: H. gated: with z_t. epsilon: ε. gamma: γ."""

    gate_blocks = 1

    def __init__(
        self, d_in: int, d_hidden: int, gated: bool = False, epsilon: float = 0.1, gamma: float = 0.01
    ) -> None:
        super().__init__()
        self.recurrence = GATED if gated else PLAIN
        self.epsilon, self.gamma = epsilon, gamma
        self.w_in = nn.Linear(d_in, d_hidden)
        self.w_in_gate = nn.Linear(d_in, d_hidden) if gated else None
        self.w_rec = nn.Parameter(torch.empty(d_hidden, d_hidden))  # [H, H] W
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)

    def initial_state(self, batch: int) -> AntisymmetricState:
        return AntisymmetricState(self.w_rec.new_zeros(batch, len(self.w_rec)))

    def drive(self, x: Tensor) -> Affine:
        if self.w_in_gate is None:
            return Affine(x, self.w_in.weight, self.w_in.bias)
        maps = (self.w_in, self.w_in_gate)
        return Affine(x, torch.cat([m.weight for m in maps]), torch.cat([m.bias for m in maps]))

    def weights(self) -> tuple[Tensor, Tensor]:
        w = self.w_rec
        eye = torch.eye(len(w), dtype=w.dtype, device=w.device)
        return w - w.mT - self.gamma * eye, w.new_full((), self.epsilon)
