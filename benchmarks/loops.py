"""Cells as a user writes them by hand in PyTorch: a loop over time, which TorchScript and torch.compile take.

Each is x [B, T, D] and weights to y [B, T, H]. The formulas stand in the files of our cells.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._inductor import config as inductor
from torch.nn import functional as F

WARM = 6  # runs of TorchScript: it watches some before it optimises
Loop = Callable[..., Tensor]


def layernorm_lstm(
    x: Tensor, w_in: Tensor, bias: Tensor, w_rec: Tensor, gain_in: Tensor, gain_rec: Tensor, gain_c: Tensor,
    shift_c: Tensor,
) -> Tensor:  # fmt: skip
    drive = F.layer_norm(F.linear(x, w_in), gain_in.shape, gain_in, bias)
    h = x.new_zeros(x.shape[0], w_rec.shape[1])
    c, w, outs = h, w_rec.t(), []
    for step in drive.unbind(1):
        i, f, g, o = (step + F.layer_norm(h @ w, gain_rec.shape, gain_rec)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(F.layer_norm(c, gain_c.shape, gain_c, shift_c))
        outs.append(h)
    return torch.stack(outs, 1)


def peephole_lstm(x: Tensor, w_in: Tensor, bias: Tensor, w_rec: Tensor, peepholes: Tensor) -> Tensor:
    drive = F.linear(x, w_in, bias)
    p_i, p_f, p_o = peepholes.chunk(3)
    h = x.new_zeros(x.shape[0], w_rec.shape[1])
    c, w, outs = h, w_rec.t(), []
    for step in drive.unbind(1):
        i, f, g, o = torch.addmm(step, h, w).chunk(4, 1)
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
        outs.append(h)
    return torch.stack(outs, 1)


def gru_reset_before(x: Tensor, w_in: Tensor, bias: Tensor, w_rec: Tensor) -> Tensor:
    size = w_rec.shape[1]
    drive, both, new = F.linear(x, w_in, bias), w_rec[: 2 * size].t(), w_rec[2 * size :].t()
    h, outs = x.new_zeros(x.shape[0], size), []
    for step in drive.unbind(1):
        z, r = torch.sigmoid(torch.addmm(step[:, : 2 * size], h, both)).chunk(2, 1)
        n = torch.tanh(torch.addmm(step[:, 2 * size :], r * h, new))
        h = (1 - z) * h + z * n
        outs.append(h)
    return torch.stack(outs, 1)


def yours(x: Tensor, w_in: Tensor, bias: Tensor, w_rec: Tensor) -> Tensor:
    drive, w = F.linear(x, w_in, bias), w_rec.t()
    h, outs = x.new_zeros(x.shape[0], w_rec.shape[1]), []
    for step in drive.unbind(1):
        f, n = torch.addmm(step, h, w).chunk(2, 1)
        f = torch.sigmoid(f + h)
        h = f * h + (1 - f) * n / (1 + torch.abs(n))
        outs.append(h)
    return torch.stack(outs, 1)


# With the names of what each takes after the weights that all have.
LOOPS: dict[str, tuple[Loop, tuple[str, ...]]] = {
    "layernorm_lstm": (layernorm_lstm, ("gain_in", "gain_rec", "gain_c", "shift_c")),
    "peephole_lstm": (peephole_lstm, ("peepholes",)),
    "gru_reset_before": (gru_reset_before, ()),
    "yours": (yours, ()),
}


def scripted(loop: Loop, step: Callable[[Loop], Any]) -> Loop:
    """The loop under TorchScript; `step`, a forward and backward pass, is run until nothing is optimised any more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch advises against it, and people still have it
        made = torch.jit.script(loop)
    for _ in range(WARM):
        step(made)
    return made


def compiled(loop: Loop, step: Callable[[Loop], Any]) -> tuple[Loop, float]:
    """The loop under torch.compile, and the seconds that the first forward and backward pass took by `step`."""
    made = torch.compile(loop)
    began = time.perf_counter()
    # What an earlier run left behind is not a first use; torch warns that it is not used.
    with warnings.catch_warnings(), inductor.patch(force_disable_caches=True):
        warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")
        step(made)
    return made, time.perf_counter() - began
