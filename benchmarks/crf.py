"""Conditional random fields against pytorch-crf (torchcrf): a training step, and the best sequences."""

from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ostinato.layers import CRF
from ostinato.recurrences import FORWARD

from .contest import CONVENTION, Asked, Contender, contest, label, means
from .tables import Row

TITLE = "Linear-chain CRF on lengths drawn evenly from 10 % to 100 % of T: ours against pytorch-crf"
PEER = "pytorch-crf"
TRAINING, DECODING = "loss, forward + backward", "best sequences"
SHAPES = ((32, 20, 9), (64, 50, 9), (32, 50, 20), (64, 50, 20), (64, 100, 9), (64, 50, 33), (32, 100, 130))
GOALS = {(TRAINING, PEER): 3.0}
TOLERANCE = 1e-4  # float32 of the peer


def rows(asked: Asked) -> Iterator[Row]:
    if find_spec("torchcrf") is None:
        print(f"skipped: {PEER} is not installed (pip install -e '.[bench]')", flush=True)
        return
    for shape in filter(asked.wants, SHAPES):
        yield from _rows(shape, asked)


def _rows(shape: tuple[int, int, int], asked: Asked) -> Iterator[Row]:
    batch, steps, tags = shape
    torch.manual_seed(0)
    ours = CRF(tags)
    theirs = twin(ours)
    emissions, gold = torch.randn(batch, steps, tags), torch.randint(tags, (batch, steps))
    lengths = torch.randint(max(1, steps // 10), steps + 1, (batch,))
    given = (emissions, gold, lengths)
    exact = train_theirs(twin(ours).double(), emissions.double(), gold, lengths)
    mine, them = partial(train_ours, ours, *given), partial(train_theirs, theirs, *given)
    options: dict[str, Any] = {"seconds": asked.seconds, "tolerance": TOLERANCE}
    yield from contest(
        {"cell": TRAINING, "B x T x K": label(shape)}, Contender("ours", mine, mine), [Contender(PEER, them, them)],
        exact, path=path(ours, emissions, lengths), **options,
    )  # fmt: skip
    mine, them = partial(best_ours, ours, *given), partial(best_theirs, theirs, *given)
    yield from contest(
        {"cell": DECODING, "B x T x K": label(shape)}, Contender("ours", mine, mine), [Contender(PEER, them, them)],
        best_theirs(twin(ours).double(), emissions.double(), gold, lengths), path="compiled", **options,
    )  # fmt: skip


def twin(crf: CRF) -> Any:
    """pytorch-crf's, with the same parameters."""
    from torchcrf import CRF as Peer

    made = Peer(len(crf.start), batch_first=True)
    with torch.no_grad():
        made.start_transitions.copy_(crf.start)
        made.transitions.copy_(crf.between)
        made.end_transitions.copy_(crf.end)
    return made


def train_ours(crf: CRF, emissions: Tensor, gold: Tensor, lengths: Tensor) -> list[Tensor]:
    """The mean loss of a row, and its gradients by emissions, start, transitions, end."""
    emissions = emissions.detach().requires_grad_()
    loss = crf.loss(emissions, gold, lengths)
    return [loss.detach(), *torch.autograd.grad(loss, [emissions, crf.start, crf.between, crf.end])]


def train_theirs(crf: Any, emissions: Tensor, gold: Tensor, lengths: Tensor) -> list[Tensor]:
    emissions = emissions.detach().requires_grad_()
    loss = -crf(emissions, gold, mask=_mask(emissions, lengths), reduction="mean")
    parameters = [crf.start_transitions, crf.transitions, crf.end_transitions]
    return [loss.detach(), *torch.autograd.grad(loss, [emissions, *parameters])]


def best_ours(crf: CRF, emissions: Tensor, gold: Tensor, lengths: Tensor) -> list[Tensor]:
    return [torch.tensor([tag + 1.0 for row in crf.decode(emissions, lengths) for tag in row])]


def best_theirs(crf: Any, emissions: Tensor, gold: Tensor, lengths: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [torch.tensor([tag + 1.0 for row in crf.decode(emissions, _mask(emissions, lengths)) for tag in row])]


def path(crf: CRF, emissions: Tensor, lengths: Tensor) -> str:
    """The backend that sums over all sequences."""
    wide = torch.nn.functional.pad(emissions.double(), (0, 1))
    between = torch.zeros(wide.shape[-1], wide.shape[-1], dtype=torch.float64)
    told = FORWARD.explain(wide, wide[:, 0], between, lengths=lengths)
    return next(line.partition(":")[0] for line in told.splitlines() if ": chosen" in line)


def _mask(emissions: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(emissions.shape[1]) < lengths[:, None]


def summary(table: Sequence[Row]) -> str:
    note = "Errors are those of the loss and all its gradients, and of the tags, against pytorch-crf in float64."
    return "\n".join([*means(table, GOALS), CONVENTION, note])
