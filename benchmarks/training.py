"""Training of LSTM, GRU and Elman by the path that is chosen, against torch.nn and JAX with the same weights."""

import copy
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from . import peers
from .contest import BEST, CONVENTION, Asked, Contender, contest, label, means
from .tables import Row
from .timing import CALM
from .torch_peer import MODULES, made, operations, path, train, twin

TITLE = "Training step (forward + backward) of a layer with I = H: the path that is chosen against torch.nn and JAX"
SHAPES = (  # T, B, H
    (35, 20, 200), (35, 20, 650), (100, 32, 128), (100, 64, 256), (128, 32, 512), (200, 16, 64), (500, 8, 32),
    (1000, 1, 128), (1000, 1, 512),
)  # fmt: skip
DTYPES = ("float32", "bfloat16")
GOALS = {("lstm", BEST): 1.3, ("gru", BEST): 2.5, ("elman", BEST): 2.5, ("gru", "torch.nn"): 3.5,
         ("elman", "torch.nn"): 3.0}  # fmt: skip
LOWERED_GOALS = {(name, "ours in float32"): 1.6 for name in MODULES}
# Relative to the largest value; sums over T * B steps round differently, and bfloat16 has 8 bits a factor.
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-1}


def rows(asked: Asked) -> Iterator[Row]:
    others = peers.installed(peers.JAX)
    for name in MODULES:
        for shape in filter(asked.wants, SHAPES):
            yield from against_torch(name, shape, asked, others)


def against_torch(name: str, shape: tuple[int, int, int], asked: Asked, others: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of our cell, by the backend that is chosen or forced, against torch.nn's module and the others named."""
    steps, batch, hidden = shape
    ours = made(name, hidden)
    theirs, x, slope = twin(name, ours), torch.randn(batch, steps, hidden), torch.randn(batch, steps, hidden)
    exact = train(copy.deepcopy(theirs).double(), x.double(), slope.double())
    mine, them = (partial(train, module, x, slope, dtype=asked.dtype) for module in (ours, theirs))
    against = [Contender("torch.nn", them, them)]
    if peers.JAX in others:
        from .jax_peer import training

        against.append(training(name, ours, x, slope, asked.dtype))
    if asked.dtype != "float32":
        full = partial(train, ours, x, slope)
        against.append(Contender("ours in float32", full, full))
    work = operations(ours, steps, batch)
    yield from contest(
        {"cell": name, "T x B x H": label(shape), "dtype": asked.dtype}, Contender("ours", mine, mine), against, exact,
        asked.seconds, tolerance=TOLERANCE[asked.dtype], path=path(ours, x, asked.dtype), pause=CALM if others else 0,
        more=lambda won: {"GFLOP/s": f"{work / won.median('ours') / 1e6:.0f}"},
    )  # fmt: skip


def summary(table: Sequence[Row]) -> str:
    lowered = any(row["dtype"] != "float32" for row in table)
    note = (
        "Errors are those of y and all gradients against torch.nn in float64. All have the same weights: flax's "
        "OptimizedLSTMCell, GRUCell and SimpleCell (jitted, warm) have the same formulas. GFLOP/s are ours. The LSTM "
        "shall never be slower than the best peer."
    )
    return "\n".join([*means(table, LOWERED_GOALS if lowered else GOALS), CONVENTION, note])
