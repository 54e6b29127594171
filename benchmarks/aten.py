"""Training of our LSTM, GRU and Elman cells through `aten` against torch.nn's own modules."""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ostinato import kernels
from ostinato.cells import cells
from ostinato.recurrent import Cell

from .tables import Row
from .timing import duel

TITLE = "Training step (forward + backward) of a layer with I = H, float32: ostinato against torch.nn"
SHAPES = ((35, 20, 200), (35, 20, 650), (100, 32, 128), (100, 64, 256), (128, 32, 512), (200, 16, 64))  # T, B, H
PEERS = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN}
GOAL = 1.05
# Errors are relative to the largest value of what is compared; sums over T * B steps round differently.
TOLERANCE = 1e-4


def rows(seconds: float, only: str | None = None) -> Iterator[Row]:
    for name in PEERS:
        for shape in SHAPES:
            if only in (None, "x".join(map(str, shape))):
                with kernels.backend("aten"):
                    yield against_torch(name, *shape, seconds)


def against_torch(name: str, steps: int, batch: int, hidden: int, seconds: float) -> Row:
    """A row: our cell, by the backend that is chosen or forced, and torch.nn's module with the same weights."""
    torch.manual_seed(0)
    ours = cells[name](hidden, hidden)
    theirs = twin(name, ours)
    x, slope = torch.randn(batch, steps, hidden), torch.randn(batch, steps, hidden)
    exact = train(copy.deepcopy(theirs).double(), x.double(), slope.double())
    mine, others = train(ours, x, slope), train(theirs, x, slope)
    errors = {"error/torch.nn": distance(mine, others), "error/float64": distance(mine, exact),
              "torch/float64": distance(others, exact)}  # fmt: skip
    row = {"cell": name, "T x B x H": f"{steps}x{batch}x{hidden}", "dtype": "float32",
           **{what: f"{error:.0e}" for what, error in errors.items()}}  # fmt: skip
    timed = ("ours ms", "torch ms", "ratio", "spread", "rounds", "path")
    if not max(errors["error/torch.nn"], errors["error/float64"]) <= TOLERANCE:
        return row | dict.fromkeys(timed, "-") | {"path": "WRONG"}
    d = duel(lambda: train(ours, x, slope), lambda: train(theirs, x, slope), seconds)
    figures = (f"{d.ours:.2f}", f"{d.theirs:.2f}", f"{d.ratio:.3f}", f"±{d.spread:.3f}", str(d.rounds), path(ours, x))
    return row | dict(zip(timed, figures, strict=True))


def twin(name: str, cell: Cell[Any]) -> nn.Module:
    """torch's module with the same weights: its second bias holds what ours has there (b_n), else zeros."""
    w_in, bias, w_rec = (cell.get_parameter(key) for key in ("w_in.weight", "w_in.bias", "w_rec"))
    hidden = w_rec.shape[1]
    peer = PEERS[name](w_in.shape[1], hidden, batch_first=True)
    second = torch.zeros_like(bias)
    if name == "gru":
        second[2 * hidden :] = cell.get_parameter("b_n")
    same = {"weight_ih": w_in, "bias_ih": bias, "weight_hh": w_rec, "bias_hh": second}
    with torch.no_grad():
        for key, value in same.items():
            peer.get_parameter(f"{key}_l0").copy_(value)
    return peer


def train(module: nn.Module, x: Tensor, slope: Tensor) -> Sequence[Tensor]:
    """One forward and backward pass: y, the gradients of x and of the three weights that both have.

    Gradients of all parameters are computed, as in a training.
    """
    x = x.detach().requires_grad_()
    module.zero_grad(set_to_none=True)
    y = module(x)[0]
    y.backward(slope)
    assert x.grad is not None
    named = dict(module.named_parameters())
    own = ("w_in.weight", "w_in.bias", "w_rec") if "w_rec" in named else ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0")
    return [y.detach(), x.grad, *(named[key].grad for key in own)]  # type: ignore[list-item]


def path(cell: Cell[Any], x: Tensor) -> str:
    """The backend that `explain` says is chosen."""
    lines = cell.explain(x).splitlines()
    return next(line.split(":")[0] for line in lines if line.split(": ", 1)[1].startswith(("chosen", "forced")))


def summary(table: Sequence[Row]) -> str:
    """The geometric mean of the ratios, a cell at a time and over all."""
    return "\n".join([*means(table, GOAL), "Below 1 ours is faster; the goal is a geometric mean of at most 1.05."])


def means(table: Sequence[Row], goal: float) -> list[str]:
    lines = []
    for name in (*dict.fromkeys(row["cell"] for row in table), "all cells"):
        ratios = [float(row["ratio"]) for row in table if row["ratio"] != "-" and name in (row["cell"], "all cells")]
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            within = sum(ratio <= goal for ratio in ratios)
            lines.append(f"{name}: geometric mean of the ratio {mean:.3f}, {within} of {len(ratios)} rows <= {goal}")
    return lines


def distance(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    pairs = [(g.double(), w.double()) for g, w in zip(got, want, strict=True)]
    return max(float((g - w).abs().max() / w.abs().max().clamp(min=1)) for g, w in pairs)
