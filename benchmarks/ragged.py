"""Training on rows of different lengths: ours with `lengths`, torch.nn with packed sequences."""

import copy
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from .contest import CONVENTION, Asked, Contender, contest, label, means
from .tables import Row
from .torch_peer import made, path, train, twin
from .training import SHAPES, TOLERANCE

TITLE = "Training step on lengths drawn evenly from 10 % to 100 % of T, I = H: ours against torch.nn's PackedSequence"
DTYPES = ("float32", "bfloat16")
GOALS = {(name, "torch.nn, packed"): 3.0 for name in ("gru", "lstm")}


def rows(asked: Asked) -> Iterator[Row]:
    for name in ("gru", "lstm"):
        for shape in SHAPES:
            if shape[1] >= 8 and asked.wants(shape):
                yield from _rows(name, shape, asked)


def _rows(name: str, shape: tuple[int, int, int], asked: Asked) -> Iterator[Row]:
    steps, batch, hidden = shape
    ours = made(name, hidden)
    theirs = twin(name, ours)
    x, slope = torch.randn(batch, steps, hidden), torch.randn(batch, steps, hidden)
    lengths = torch.randint(max(1, steps // 10), steps + 1, (batch,))
    exact = train(copy.deepcopy(theirs).double(), x.double(), slope.double(), lengths)
    mine, them = (partial(train, module, x, slope, lengths, asked.dtype) for module in (ours, theirs))
    yield from contest(
        {"cell": name, "T x B x H": label(shape), "dtype": asked.dtype}, Contender("ours", mine, mine),
        [Contender("torch.nn, packed", them, them)], exact, asked.seconds, tolerance=TOLERANCE[asked.dtype],
        path=path(ours, x, asked.dtype, lengths=lengths),
    )  # fmt: skip


def summary(table: Sequence[Row]) -> str:
    note = (
        "torch packs and pads again (pack_padded_sequence with enforce_sorted=False, pad_packed_sequence) in the step "
        "that is timed; ours sorts. Errors are those of y and all gradients against the same in float64."
    )
    return "\n".join([*means(table, GOALS), CONVENTION, note])
