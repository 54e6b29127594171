"""A training step of a text classifier, from ids to updated gradients: ours, and the usual script for torch.nn."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ostinato.cells import LSTM
from ostinato.kernels.cpu.runtime.malloc import retain_freed_pages
from ostinato.layers import Bidirectional, Dropout, Pool, Stack
from ostinato.models import Embedder, Labeller
from ostinato.models.heads import ClassHead

from .contest import CONVENTION, Asked, Contender, contest, label, means
from .tables import Row
from .training import TOLERANCE

TITLE = "Training step of a classifier, a bidirectional LSTM under max and mean, on rows of 80 % to 100 % of T"
PEER = "torch.nn, packed"
DTYPES = ("float32", "bfloat16")
SHAPES = ((32, 32, 128), (200, 32, 128), (400, 64, 128), (400, 64, 256))  # T x B x H, as wide as its input
WORDS, CLASSES = 10_000, 2
GOALS = {("bi-lstm", PEER): 3.0}


def rows(asked: Asked) -> Iterator[Row]:
    retain_freed_pages()  # as `ostinato train` does, for both
    for shape in filter(asked.wants, SHAPES):
        yield from _rows(shape, asked)


def _rows(shape: tuple[int, int, int], asked: Asked) -> Iterator[Row]:
    steps, batch, hidden = shape
    torch.manual_seed(0)
    ours = made(hidden, 0.4)
    theirs = Usual(ours, hidden, 0.4)
    lengths = torch.randint(steps * 4 // 5, steps + 1, (batch,)).sort(descending=True).values
    ids, wanted = torch.randint(2, WORDS, (batch, steps)), torch.randint(CLASSES, (batch,))
    given = (ids, wanted, lengths)
    exact = gradients(Usual(ours, hidden, 0.0).double(), *given)
    contenders = [
        Contender(name, partial(gradients, wild, *given, asked.dtype), partial(gradients, calm, *given, asked.dtype))
        for name, wild, calm in (
            ("ours", ours, _calm(ours, hidden)),
            (PEER, theirs, Usual(ours, hidden, 0.0)),
        )
    ]
    yield from contest(
        {"cell": "bi-lstm", "T x B x H": label(shape), "dtype": asked.dtype}, contenders[0], contenders[1:], exact,
        asked.seconds, tolerance=TOLERANCE[asked.dtype], path="numba",
    )  # fmt: skip


def made(hidden: int, dropout: float) -> Labeller:
    body = Stack(
        Dropout(dropout), Bidirectional(LSTM(hidden, hidden), LSTM(hidden, hidden)), Dropout(dropout)
    )  # fmt: skip
    return Labeller(Embedder(WORDS, hidden), body, {"label": ClassHead(Pool("max_mean", 2 * hidden), CLASSES)})


def _calm(wild: Labeller, hidden: int) -> Labeller:
    """The same without dropout: what is compared."""
    calm = made(hidden, 0.0)
    calm.load_state_dict(wild.state_dict())
    return calm


class Usual(nn.Module):
    """The script that everybody writes, with the parameters of ours."""

    def __init__(self, ours: Labeller, hidden: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, hidden, padding_idx=0)
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(4 * hidden, CLASSES)
        self.dropout = nn.Dropout(dropout)
        mine = [p.detach() for p in ours.parameters()]
        assert len(mine) == 1 + 2 * 3 + 2
        with torch.no_grad():
            self.words.weight.copy_(mine[0])
            for d, suffix in enumerate(("", "_reverse")):
                given = dict(zip(("weight_hh", "weight_ih", "bias_ih"), mine[1 + 3 * d :], strict=False))
                for name, value in given.items():
                    getattr(self.lstm, f"{name}_l0{suffix}").copy_(value)
                getattr(self.lstm, f"bias_hh_l0{suffix}").zero_()
            self.linear.weight.copy_(mine[-2])
            self.linear.bias.copy_(mine[-1])

    def loss(self, ids: Tensor, targets: dict[str, Tensor], lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.dropout(self.words(ids)), lengths, batch_first=True)
        y = self.dropout(pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0])
        past = (torch.arange(y.shape[1]) >= lengths[:, None])[..., None]
        most, mean = y.masked_fill(past, -torch.inf).amax(1), y.masked_fill(past, 0.0).sum(1) / lengths[:, None]
        return nn.functional.cross_entropy(self.linear(torch.cat([most, mean], 1)), targets["label"])


def gradients(
    model: "Labeller | Usual", ids: Tensor, wanted: Tensor, lengths: Tensor, dtype: str = "float32"
) -> list[Tensor]:
    """The loss, and its gradients by the embedding and the readout."""
    model.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        loss = model.loss(ids, {"label": wanted}, lengths)
    model.zero_grad()
    loss.backward()
    kept = [p.grad for p in model.parameters()]
    assert all(g is not None for g in kept)
    return [loss.detach(), *(g for g in (kept[0], kept[-2], kept[-1]) if g is not None)]


def summary(table: Sequence[Row]) -> str:
    note = (
        "Compared without dropout, timed with it: 0.4 before and after the LSTM. The longest row stands first: torch "
        "need not sort. Freed memory stays with the process for both, as `ostinato train` asks for."
    )
    return "\n".join([*means(table, GOALS), CONVENTION, note])
