"""The labelling task: rows of tokens in, the answers of each head out."""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ...data.buckets import bucketed, fitted, pad, widen
from ...layers import Stack
from ...models import Labeller
from ...models.bilm import BiLM
from ...train.task import Task
from .build import build
from .examples import Examples, Part
from .measure import measure, monitored
from .pretrained import from_language_model
from .recipe import LabellingRecipe


class RowBatch(NamedTuple):
    """Rows side by side."""

    x: Tensor  # [B, T] or [B, T, 1 + C] int64
    lengths: Tensor  # [B] int64
    targets: dict[str, Tensor]  # of each head: [B], [B, C] or [B, T]


class LabellingTask(Task[RowBatch]):
    """Heads over one encoder.

    Args:
        recipe: data, model and heads.
        examples: what the recipe names, read.
        device: where the batches go.
    """

    monitor: str
    higher_is_better: ClassVar[bool] = True

    def __init__(self, recipe: LabellingRecipe, examples: Examples, device: torch.device) -> None:
        self.recipe, self.examples, self.device = recipe, examples, device
        self.monitor = monitored(recipe, examples)
        train = examples.parts["train"]
        self.length = sum(train.sizes) / len(train)
        self.vectors = ""
        self.said: dict[str, list[dict[str, Any]]] = {}  # split -> the answers of its last evaluation
        self.start: BiLM | None = None  # whose embedding and layers the model begins with
        self._order: tuple[int, list[Tensor]] = (-1, [])
        self._count = len(self._cut(0))

    def model(self) -> Labeller:
        model, self.vectors = build(self.recipe, self.examples.codec, self.examples.schemes, self.length)
        if self.start is not None:
            from_language_model(model, self.start)
        return model

    def groups(self, model: nn.Module) -> list[list[nn.Parameter]]:
        """Embedding, part by part of the body, heads."""
        assert isinstance(model, Labeller)
        parts = model.body.parts if isinstance(model.body, Stack) else [model.body]
        top = list(model.heads.parameters())
        below = [list(part.parameters()) for part in (model.embedder, *parts)]
        return [group for group in (*below, top) if group]

    def notes(self) -> list[str]:
        return [self.vectors] if self.vectors else []

    def fingerprint(self) -> str:
        return self.examples.fingerprint()

    def batch_count(self) -> int:
        return self._count

    def batches(self, epoch: int, start: int, rank: int, world: int) -> Iterator[RowBatch]:
        train = self.examples.parts["train"]
        for rows in self._batches(epoch)[start:]:
            yield self._batch(train, rows.tolist(), rank, world)

    def _batches(self, epoch: int) -> list[Tensor]:
        if self._order[0] != epoch:
            sizes = self.examples.parts["train"].sizes
            # With batch_tokens the seed moves rows between batches of different lengths, and so changes their number.
            self._order = (epoch, fitted(self._cut(epoch), sizes, self._count))
        return self._order[1]

    def _cut(self, epoch: int) -> list[Tensor]:
        data = self.recipe.data
        seed = (self.recipe.seed * 100_003 + epoch) % 2**63
        return bucketed(self.examples.parts["train"].sizes, data.batch, seed=seed, max_tokens=data.batch_tokens)

    def _batch(self, part: Part, rows: list[int], rank: int = 0, world: int = 1) -> RowBatch:
        shared = rows[rank::world]
        rows = shared or rows[:1]
        x, lengths = pad_rows([part.rows[i] for i in rows])
        if not shared:
            # More ranks than rows: this one keeps step with the others, and learns nothing from a row of length 0.
            lengths = torch.zeros_like(lengths)
        targets = {name: _stacked([column[i] for i in rows]) for name, column in part.targets.items()}
        moved = {name: target.to(self.device) for name, target in targets.items()}
        return RowBatch(x.to(self.device), lengths.to(self.device), moved)

    def size(self, batch: RowBatch) -> int:
        return int((batch.lengths > 0).sum())

    def tokens(self, batch: RowBatch) -> int:
        return int(batch.lengths.sum())

    def loss(self, model: nn.Module, batch: RowBatch, state: Any) -> tuple[Tensor, Any]:
        assert isinstance(model, Labeller)
        return model.loss(batch.x, batch.targets, batch.lengths), None

    def evaluate(self, model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
        assert isinstance(model, Labeller)
        part = self.examples.parts[split]
        found = self.said[split] = answered(model, part.rows, self.recipe.data.batch_valid)
        answers = {name: [row[name] for row in found] for name in self.recipe.heads}
        return measure(self.recipe, self.examples, split, answers)


@torch.no_grad()
def answered(model: Labeller, rows: list[Tensor], batch: int, n_best: int = 0) -> list[dict[str, Any]]:
    """What each head says of each row: a Decision, or with `n_best` a list of them. The order is the rows'."""
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found: list[dict[str, Any]] = [{} for _ in rows]
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        x, lengths = pad_rows([rows[i] for i in chosen])
        lengths = lengths.to(device)
        for name, scores in model(x.to(device), lengths).items():
            head = model.head(name)
            said = head.nbest(scores, lengths, n_best) if n_best else head.decide(scores, lengths)
            for i, decision in zip(chosen, said, strict=True):
                found[i][name] = decision
    return found


def pad_rows(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of ids as one tensor, and their lengths; rows of no token become one of padding."""
    x, lengths = widen(rows), torch.tensor([len(row) for row in rows])
    return (x if x.shape[1] else x.new_zeros(len(rows), 1, *x.shape[2:])), lengths


def _stacked(targets: list[Tensor]) -> Tensor:
    return pad(targets)[0] if targets[0].ndim and len({len(t) for t in targets}) > 1 else torch.stack(targets)
