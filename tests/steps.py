"""Steps that kernels are derived from in the tests: of every cell, and of no cell."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ostinato.cells import cells
from ostinato.cells.activation import activations
from ostinato.recurrence import Recurrence

H = 5
CASES = [(name, {}) for name in cells] + [(n, {"activation": f}) for n in ("elman", "jordan") for f in activations]


def step_of(recurrence: Recurrence) -> Callable[..., Any]:
    return lambda drive, state, *weights: recurrence.step(drive, state, *weights)[:2]


def layernorm(d: Tensor, s: tuple[Tensor, ...], w: Tensor, g: Tensor, b: Tensor) -> Any:
    h = F.layer_norm(d + s[0] @ w.T, (H,), g, b).tanh()
    return h, (h,)


def attention(d: Tensor, s: tuple[Tensor, ...], w: Tensor, v: Tensor) -> Any:
    a = F.softmax((d + s[0] @ w.T)[..., : H - 1], -1)
    m = 0.9 * s[1] + F.relu(s[1] @ v) * F.pad(a, (0, 1)) - 0.1 * s[0].mean(-1, keepdim=True)
    return m.tanh(), (m.tanh(), m)


def oddities(d: Tensor, s: tuple[Tensor, ...], w: Tensor, c: Tensor) -> Any:
    a, b = (d @ w).split([2, 3], dim=-1)
    low = torch.cat([b.clamp(min=-0.3), a.abs().sqrt()], dim=-1) / (1 + s[0] ** 2)
    h = torch.where(low > c, low, F.softplus(s[0])) * (1 - c) + torch.log1p(d.exp()) - F.silu(d) / 3
    return h[..., 1:].sum(-1, keepdim=True) * h, (h - h.amax(-1, keepdim=True),)


def no_weights(d: Tensor, s: tuple[Tensor, ...]) -> Any:
    h = d.sigmoid() * s[0] + 0.5
    return h, (h,)


def nothing_remembered(d: Tensor, s: tuple[Tensor, ...], w: Tensor) -> Any:
    return (d @ w.T).tanh(), (torch.zeros_like(s[0]),)


STEPS = {
    layernorm: [(H, H), (H,), (H,)], attention: [(H, H), (H, H)], oddities: [(H, H), ()], no_weights: [],
    nothing_remembered: [(H, H)],
}  # fmt: skip
