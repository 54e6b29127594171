"""A training step of the language model that the recipe ptb-small trains: forward, backward, clipping, AdamW."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato.cells import LSTM
from ostinato.kernels import backend
from ostinato.layers import Stack
from ostinato.models import LanguageModel

from .contest import CONVENTION, Asked, Contender, contest, means
from .tables import Row
from .torch_peer import lowered, path

TITLE = "Training step of the model of ptb-small without dropout (2 LSTMs of 256, 10,000 words, tied): 20 x 35 words"
DTYPES = ("float32", "bfloat16")
BATCH, STEPS, WIDTH, WORDS = 20, 35, 256, 10_000
AGAIN = "ours, by aten"
OURS, THEIRS = ("w_in.weight", "w_in.bias", "w_rec"), ("weight_ih", "bias_ih", "weight_hh")
GOALS = {"float32": 1.15, "bfloat16": 1.5}
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-1}


class Plain(nn.Module):
    """The same model as people write it with torch.nn."""

    def __init__(self, ours: LanguageModel) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.body = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.shift = nn.Parameter(torch.zeros(WORDS))
        with torch.no_grad():
            for mine, theirs in zip(common(ours), common(self), strict=True):
                theirs.copy_(mine)
            for i in range(self.body.num_layers):
                self.body.get_parameter(f"bias_hh_l{i}").zero_()

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        y, _ = self.body(self.embedding(x))
        return F.cross_entropy(F.linear(y.flatten(0, 1), self.embedding.weight, self.shift), targets.flatten())


def cells(model: LanguageModel) -> list[LSTM]:
    return [part for part in model.modules() if isinstance(part, LSTM)]


def common(model: nn.Module) -> list[Tensor]:
    """The weights that both have: the embedding's, and three of each layer."""
    if isinstance(model, Plain):
        names = [f"body.{name}_l{i}" for i in range(model.body.num_layers) for name in THEIRS]
        return [model.embedding.weight, *map(model.get_parameter, names)]
    assert isinstance(model, LanguageModel)
    return [model.embedding.weight, *(cell.get_parameter(name) for cell in cells(model) for name in OURS)]


def rows(asked: Asked) -> Iterator[Row]:
    torch.manual_seed(0)
    body = Stack(LSTM(WIDTH, WIDTH), LSTM(WIDTH, WIDTH))
    model = LanguageModel(WORDS, WIDTH, body, WIDTH, tied=True, softmax=asked.dtype)
    words = torch.randint(WORDS, (BATCH, STEPS + 1))
    x, targets = words[:, :-1], words[:, 1:]
    exact = gradients(Plain(model).double(), lambda m: m.loss(x, targets), "float32")

    def ours(model: LanguageModel, forced: str = "") -> Tensor:
        with backend(forced) if forced else nullcontext():
            return model.loss(x, targets, None)[0]

    ways: dict[str, tuple[nn.Module, Callable[..., Tensor]]] = {
        "ours": (model, ours),
        AGAIN: (copy.deepcopy(model), partial(ours, forced="aten")),
        "torch.nn": (Plain(model), lambda m: m.loss(x, targets)),
    }
    mine, *others = (
        Contender(name, Step(module, loss, asked.dtype).run, partial(gradients, module, loss, asked.dtype))
        for name, (module, loss) in ways.items()
    )
    chosen = path(cells(model)[0], torch.zeros(BATCH, STEPS, WIDTH), asked.dtype)
    yield from contest(
        {"model": "ptb-small", "dtype": asked.dtype}, mine, others, exact, asked.seconds,
        tolerance=TOLERANCE[asked.dtype], path=chosen,
        more=lambda won: {"words/s": f"{BATCH * STEPS / won.median('ours') * 1e3:.0f}"},
    )  # fmt: skip


class Step:
    """A training step of a model of its own."""

    def __init__(self, model: nn.Module, loss: Callable[..., Tensor], dtype: str) -> None:
        self.model, self.loss, self.dtype = copy.deepcopy(model), loss, dtype
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-5)

    def run(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        with lowered(self.dtype):
            loss = self.loss(self.model)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()


def gradients(model: nn.Module, loss: Callable[..., Tensor], dtype: str) -> Sequence[Tensor]:
    """The loss, and its gradients with respect to the embedding and the layers' three common weights."""
    with lowered(dtype):
        value = loss(model)
    return [value.detach(), *torch.autograd.grad(value, common(model))]


def summary(table: Sequence[Row]) -> str:
    goal = GOALS["bfloat16" if any(row["dtype"] == "bfloat16" for row in table) else "float32"]
    same = [{"cell": row["model"], **row} for row in table]
    note = (
        "Ours by aten has the same softmax layer; torch.nn has F.cross_entropy of F.linear. In bfloat16 all products "
        "are, by autocast. Errors are those of the loss and all common gradients against torch.nn in float64."
    )
    return "\n".join([*means(same, {("ptb-small", AGAIN): goal}, best_too=False), CONVENTION, note])
