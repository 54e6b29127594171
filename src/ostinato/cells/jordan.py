"""Jordan's network (Jordan 1986): the output is fed back, not the hidden layer; lecture S2 section 2.1.1.

h_t = f(W_in x_t + b + W_rec y_{t-1})
y_t = W_out h_t + c
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import tree
from ..recurrence import Affine, Recurrence
from ..recurrent import Cell
from ..registry import cells
from .activation import activations


class JordanState(NamedTuple):
    y: Tensor  # [B, K] the last output


class JordanGates(NamedTuple):
    h: Tensor  # [B, H] hidden
    y: Tensor  # [B, K] output


def gates(f: Any, drive: Tensor, state: JordanState, w_rec: Tensor, w_out: Tensor, c: Tensor) -> JordanGates:
    h = f(torch.addmm(drive, state.y, w_rec.mT))
    return JordanGates(h, torch.addmm(c, h, w_out.mT))


def update(gates: JordanGates, state: JordanState) -> tuple[Tensor, JordanState]:
    return gates.y, JordanState(gates.y)


RECURRENCES = {name: Recurrence(f"jordan_{name}", update, partial(gates, f)) for name, f in activations.items()}


@cells.register("jordan")
class Jordan(Cell[JordanState]):
    """x [B, T, D] -> y [B, T, K]. Args: d_in: D. d_hidden: H. d_out: K; None: H. activation: f, as for Elman."""

    gate_blocks = 1

    def __init__(self, d_in: int, d_hidden: int, d_out: int | None = None, activation: str = "tanh") -> None:
        super().__init__()
        self.f = activations[activation]
        self.recurrence = RECURRENCES[activation]
        self.w_in = nn.Linear(d_in, d_hidden)
        self.w_rec = nn.Parameter(torch.empty(d_hidden, d_out or d_hidden))  # [H, K]
        self.w_out = nn.Linear(d_hidden, d_out or d_hidden)
        for p in self.parameters():
            nn.init.uniform_(p, -(d_hidden**-0.5), d_hidden**-0.5)

    def initial_state(self, batch: int) -> JordanState:
        return JordanState(self.w_rec.new_zeros(batch, self.w_rec.shape[1]))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.w_rec, self.w_out.weight, self.w_out.bias

    def teach(
        self, x: Tensor, targets: Tensor, state: JordanState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, JordanState]:
        """Teacher forcing (Williams & Zipser 1989): targets [B, T, K] stand for y_{t-1}; all steps are taken at once.

        Gives (y [B, T, K], the state to go on from: each row's last target).
        """
        before = (self.initial_state(len(x)) if state is None else state).y[:, None]
        fed = torch.cat([before, targets], dim=1)  # [B, T + 1, K]
        y = self.w_out(self.f(self.w_in(x) + F.linear(fed[:, :-1], self.w_rec)))
        ends = torch.full_like(x[:, 0, 0], x.shape[1], dtype=torch.int64) if lengths is None else lengths
        return tree.masked(y, lengths), JordanState(fed[torch.arange(len(x), device=x.device), ends])
