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


def constants_alone(d: Tensor, s: tuple[Tensor, ...], w: Tensor, v: Tensor) -> Any:
    """A product whose factor no step changes, a weight given to each row, and an output without gradient."""
    h = (d + torch.ones_like(s[0]) @ w + 0.5 * s[0]).tanh()
    return (h > 0).to(h.dtype), (h * v.expand_as(d) + v.expand_as(d) @ w,)


def norms_of_products(d: Tensor, s: tuple[Tensor, ...], w: Tensor, g: Tensor, b: Tensor) -> Any:
    h = F.layer_norm(s[0] @ w.T, (H,), g, b) + d
    return h, (F.layer_norm(h, (H,)).tanh(),)


def one_weight_often(d: Tensor, s: tuple[Tensor, ...], w: Tensor, v: Tensor, a: Tensor) -> Any:
    """A matrix, a vector and a number, each in several places."""
    h = ((d + (s[0] + v) @ w).tanh() @ w.T * v + s[0] @ (w - w.T) * a).tanh()
    return h * w[0] + v, (h * a.sigmoid() + torch.outer(v, v).mean(),)


def truths(d: Tensor, s: tuple[Tensor, ...]) -> Any:
    """Of numbers that are no truths too; and two added."""
    both = torch.logical_and(d, s[0]).to(d.dtype) + (d.bool() & ~(s[0] > 0) | (d < -1)).to(d.dtype)
    either = torch.where((d > 0) + (s[0] > 0), 0.3 * s[0], ((d > 0) + (s[0] > 0)).to(d.dtype))
    found = torch.where(torch.isnan(d) | torch.isinf(d), 0.0, both * d + either)
    return found, (found.tanh(),)


def limits(d: Tensor, s: tuple[Tensor, ...]) -> Any:
    """Infinite constants, and bounds that are rows."""
    a = (s[0] + d).masked_fill(d > d.mean(-1, keepdim=True), float("-inf")).softmax(-1)
    h = d - (s[0] + d).logsumexp(-1, keepdim=True) + a * s[0].clamp(-float("inf"), 0.3)
    return torch.clamp(h, -d.abs(), 2.0 + s[0].abs()), (h.tanh(),)


def moments(d: Tensor, s: tuple[Tensor, ...]) -> Any:
    h = s[0] * torch.arange(H) + d
    h = h / (0.5 + h.std(-1, keepdim=True)) - torch.maximum(d, s[0].amax(-1, keepdim=True))
    return torch.cat([h[..., -100:2], h, d], -1), (h.tanh(),)


def one_number(d: Tensor, s: tuple[Tensor, ...], w: Tensor) -> Any:
    """All that the state says to the next step."""
    a = (s[0] @ w).relu().maximum(-s[0].mean(-1, keepdim=True))
    return a, ((a * d).tanh(),)


def drive_unseen(d: Tensor, s: tuple[Tensor, ...], w: Tensor) -> Any:
    return s[0], ((s[0] @ w).tanh(),)


def state_unseen(d: Tensor, s: tuple[Tensor, ...]) -> Any:
    return d, (d,)


STEPS = {
    layernorm: [(H, H), (H,), (H,)], attention: [(H, H), (H, H)], oddities: [(H, H), ()], no_weights: [],
    nothing_remembered: [(H, H)], constants_alone: [(H, H), (H,)], norms_of_products: [(H, H), (H,), (H,)],
    one_weight_often: [(H, H), (H,), ()], truths: [], limits: [], moments: [], one_number: [(H, 1)],
    drive_unseen: [(H, H)], state_unseen: [],
}  # fmt: skip
