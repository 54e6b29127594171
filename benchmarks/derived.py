"""Training by kernels derived from the step, against torch.nn where it has the cell, else the reference loop."""

import copy
from collections.abc import Iterator, Sequence

import torch

from ostinato import kernels
from ostinato.cells import cells
from ostinato.recurrent import Cell

from .aten import PEERS, SHAPES, TOLERANCE, against_torch, distance, means
from .tables import Row
from .timing import duel

TITLE = "Training step of a layer with I = H, float32: derived kernels against torch.nn, or the step-by-step loop"
LOOPED = ("gru_reset_before", "mgu")


def rows(seconds: float, only: str | None = None) -> Iterator[Row]:
    for shape in SHAPES:
        if only not in (None, "x".join(map(str, shape))):
            continue
        for name in PEERS:
            with kernels.backend("cpu"):
                row = dict(against_torch(name, *shape, seconds))
            yield {
                **_renamed(row),
                "against": "torch.nn",
                "GFLOP/s": _speed(cells[name](shape[2], shape[2]), shape, row),
            }
        for name in LOOPED:
            yield _against_the_loop(name, *shape, seconds)


def _renamed(row: dict[str, str]) -> dict[str, str]:
    """Without the columns that only torch.nn has."""
    names = {"torch ms": "peer ms"}
    return {names.get(k, k): v for k, v in row.items() if k not in ("error/torch.nn", "torch/float64")}


def _against_the_loop(name: str, steps: int, batch: int, hidden: int, seconds: float) -> Row:
    torch.manual_seed(0)
    cell = cells[name](hidden, hidden)
    x, slope = torch.randn(batch, steps, hidden), torch.randn(batch, steps, hidden)

    def train(backend: str, cell: Cell = cell, x: torch.Tensor = x, slope: torch.Tensor = slope) -> list[torch.Tensor]:
        x = x.detach().requires_grad_()
        with kernels.backend(backend):
            y = cell(x)[0]
            return [y.detach(), *torch.autograd.grad(y, [x, *cell.parameters()], slope)]

    error = distance(train("cpu"), train("reference", copy.deepcopy(cell).double(), x.double(), slope.double()))
    row = {"cell": name, "T x B x H": f"{steps}x{batch}x{hidden}", "dtype": "float32", "error/float64": f"{error:.0e}"}
    if not error <= TOLERANCE:
        timed = ("ours ms", "peer ms", "ratio", "spread", "rounds", "path", "against", "GFLOP/s")
        return row | dict.fromkeys(timed, "-") | {"path": "WRONG"}
    d = duel(lambda: train("cpu"), lambda: train("reference"), seconds)
    row |= {"ours ms": f"{d.ours:.2f}", "peer ms": f"{d.theirs:.2f}", "ratio": f"{d.ratio:.3f}",
            "spread": f"±{d.spread:.3f}", "rounds": str(d.rounds), "path": "cpu", "against": "loop"}  # fmt: skip
    return row | {"GFLOP/s": _speed(cell, (steps, batch, hidden), row)}


def _speed(cell: Cell, shape: Sequence[int], row: dict[str, str]) -> str:
    """Of the products alone, three times those of the forward pass, as papers count."""
    if row["ours ms"] == "-":
        return "-"
    steps, batch, _ = shape
    numbers = sum(p.numel() for p in cell.parameters() if p.ndim == 2)
    return f"{3 * 2 * steps * batch * numbers / float(row['ours ms']) / 1e6:.0f}"


def summary(table: Sequence[Row]) -> str:
    return "\n".join([*means(table, 1.0), "The ratio is ours / peer: below 1 ours is faster."])
