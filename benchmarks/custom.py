"""Training of cells that torch.nn does not have, by the kernel that is derived, against the loops that people write."""

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato import kernels
from ostinato.cells import cells
from ostinato.layers import Zoneout
from ostinato.recurrence import Affine, Recurrence
from ostinato.recurrent import Cell

from .contest import BEST, CONVENTION, Asked, Contender, contest, geometric, label, means, speed_ups
from .loops import LOOPS, Loop, compiled, scripted
from .peak import peak
from .tables import Row
from .torch_peer import lowered, made, operations
from .training import SHAPES, TOLERANCE

TITLE = "Training step of a layer of any cell with I = H: derived kernels against loops in PyTorch"
DTYPES = ("float32", "bfloat16")
# torch.compile unrolls the loop, which takes minutes: the shortest is tried, when a row gets a second or more.
COMPILED = (("layernorm_lstm", SHAPES[0]), ("yours", SHAPES[0]))
# For H from .. on: x the best peer, share of our LSTM's GFLOP/s, share of the peak.
GOALS = {256: (2.5, 0.9, 0.8), 65: (4.0, 0.8, None), 0: (10.0, 0.7, None)}


class YourState(NamedTuple):
    h: Tensor  # [B, H]


def gates(drive: Tensor, state: YourState, w_rec: Tensor) -> tuple[Tensor, Tensor]:
    f, n = torch.addmm(drive, state.h, w_rec.mT).chunk(2, dim=-1)
    return (f + state.h).sigmoid(), n / (1 + n.abs())


def update(gates: tuple[Tensor, Tensor], state: YourState) -> tuple[Tensor, YourState]:
    h = gates[1] + gates[0] * (state.h - gates[1])
    return h, YourState(h)


class Yours(Cell[YourState]):
    """What a user might invent: nothing is registered, no kernel was written for it."""

    recurrence = Recurrence("yours", update, gates)

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(d_in, 2 * d_hidden)
        self.w_rec = nn.Parameter(torch.empty(2 * d_hidden, d_hidden).uniform_(-(d_hidden**-0.5), d_hidden**-0.5))

    def initial_state(self, batch: int) -> YourState:
        return YourState(self.w_rec.new_zeros(batch, self.w_rec.shape[1]))

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor]:
        return (self.w_rec,)


CELLS = {
    "layernorm_lstm": cells["layernorm_lstm"], "peephole_lstm": cells["peephole_lstm"],
    "gru_reset_before": cells["gru_reset_before"], "zoneout(lstm)": lambda d, h: Zoneout(cells["lstm"](d, h), 0.1),
    "yours": Yours,
}  # fmt: skip


def rows(asked: Asked) -> Iterator[Row]:
    shapes = [shape for shape in SHAPES[:6] if asked.wants(shape)]
    most = peak() if shapes else 0.0
    print(f"peak of float32: {most:.0f} GFLOP/s on {torch.get_num_threads()} threads\n", flush=True)
    for name in CELLS:
        for shape in shapes:
            yield from _rows(name, shape, most, asked)


def _rows(name: str, shape: tuple[int, int, int], most: float, asked: Asked) -> Iterator[Row]:
    steps, batch, hidden = shape
    torch.manual_seed(0)
    cell = CELLS[name](hidden, hidden)
    x, slope = torch.randn(batch, steps, hidden), torch.randn(batch, steps, hidden)
    head = {"cell": name, "T x B x H": label(shape), "dtype": asked.dtype}

    def by(backend: str, dtype: str = asked.dtype, cell: Any = cell, x: Tensor = x, slope: Tensor = slope) -> Any:
        with kernels.backend(backend):
            return step(cell, cell, x, slope, dtype)

    try:
        by("numba")
    except kernels.BackendError as error:
        yield head | {"peer": "-", "speed-up": "-", "path": f"refused: {error}"}
        return
    exact = by("reference", "float32", copy.deepcopy(cell).double(), x.double(), slope.double())
    against, took = [_contender("eager loop", partial(by, "reference"))], 0.0
    if name in LOOPS:
        run = partial(_by_hand, name, cell, x, slope, asked.dtype)
        against.append(_contender("TorchScript", partial(run, scripted(LOOPS[name][0], run))))
        if (name, shape) in COMPILED and asked.seconds >= 1:
            loop, took = compiled(LOOPS[name][0], run)
            against.append(_contender("torch.compile", partial(run, loop)))
    lstm = made("lstm", hidden)
    beside = _contender("our lstm", partial(step, lstm, lstm, x, slope, asked.dtype))
    work, whole = operations(cell, steps, batch), operations(lstm, steps, batch)

    def more(won: Any) -> Row:
        speed, its = work / won.median("ours") / 1e6, whole / won.median("our lstm") / 1e6
        return {"GFLOP/s": f"{speed:.0f}", "of peak": f"{speed / most:.2f}", "of our lstm": f"{speed / its:.2f}"}

    for row in contest(head, _contender("ours", partial(by, "numba")), against, exact, asked.seconds,
                       tolerance=TOLERANCE[asked.dtype], path="numba", beside=[beside], more=more):  # fmt: skip
        yield {**row, "peer's compile s": f"{took:.0f}" if row["peer"] == "torch.compile" else "-"}


def _contender(name: str, run: Any) -> Contender:
    return Contender(name, run, run)


def step(read: Any, module: nn.Module, x: Tensor, slope: Tensor, dtype: str) -> Sequence[Tensor]:
    """y and the gradients of x and all parameters of the module; what is drawn, is the same each time."""
    torch.manual_seed(1)
    x = x.detach().requires_grad_()
    with lowered(dtype):
        y = read(x)
    y = y[0] if isinstance(y, tuple) else y
    return [y.detach(), *torch.autograd.grad(y, [x, *module.parameters()], slope.to(y.dtype))]


def _by_hand(name: str, cell: Cell[Any], x: Tensor, slope: Tensor, dtype: str, loop: Loop) -> Sequence[Tensor]:
    named = ("w_in.weight", "w_in.bias", "w_rec", *LOOPS[name][1])
    return step(lambda x: loop(x, *map(cell.get_parameter, named)), cell, x, slope, dtype)


def summary(table: Sequence[Row]) -> str:
    lines, left = means(table), list(table)
    for least, (times, share, of_peak) in GOALS.items():
        here = [row for row in left if int(row["T x B x H"].split("x")[-1]) >= least and row["speed-up"] != "-"]
        left = [row for row in left if row not in here]
        if not here:
            continue
        best = [ratio for (_, peer), ratios in speed_ups(here).items() if peer == BEST for ratio in ratios]
        best = best or [float(row["speed-up"]) for row in here]
        of = {key: geometric([float(row[key]) for row in here]) for key in ("of peak", "of our lstm")}
        of_lstm, of_all = of["of our lstm"], of["of peak"]
        lines.append(
            f"H >= {least}, all cells: {geometric(best):.2f} times the best peer (goal {times:g}), "
            f"{of_lstm:.2f} of our LSTM's GFLOP/s (goal {share:g}), {of_all:.2f} of the peak"
            + ("" if of_peak is None else f" (goal {of_peak:g})")
        )
    note = "Errors are those of y and the gradients of x and all weights against the step-by-step loop in float64."
    return "\n".join([*lines, CONVENTION, note])
