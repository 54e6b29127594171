"""The task of filling in blanks: some words of a sentence are hidden, and the model names them."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.batches import IGNORED
from ...data.buckets import bucketed, pad
from ...models import Embedder
from ...models.filler import Filler
from ...train.task import Task
from .. import body
from .recipe import BlanksRecipe
from .sentences import SPECIALS, Codec, Sentences, known


class BlankBatch(NamedTuple):
    """Sentences side by side."""

    x: Tensor  # [B, T] int64, blanks where words are hidden
    targets: Tensor  # [B, T] int64, the hidden words, IGNORED elsewhere
    lengths: Tensor  # [B] int64


def build(recipe: BlanksRecipe, codec: Codec) -> Filler:
    """The model that a recipe describes. The body's output dropout is the softmax layer's."""
    model = recipe.model
    embedder = Embedder(len(codec.words), model.width, word_dropout=model.dropout.words)
    inside = model.model_copy(update={"dropout": model.dropout.model_copy(update={"output": 0.0})})
    built = body.build(inside, embedder.d_out)
    made = Filler(embedder, built.body, built.d_out, len(SPECIALS), model.tied, model.dropout.output)
    body.begin(model, made)
    return made


class BlanksTask(Task[BlankBatch]):
    """Hidden words named from the words around them.

    While learning a share of a sentence's words is hidden, other ones each epoch; what is scored is one blank at a
    time, at places that the seed alone decides.
    """

    monitor = "nats_per_blank"

    def __init__(self, recipe: BlanksRecipe, sentences: Sentences, device: torch.device) -> None:
        self.recipe, self.sentences, self.device = recipe, sentences, device
        self.rows = sentences.parts.get("train", [])  # none where a text is only scored
        self._order: tuple[int, list[Tensor]] = (-1, [])

    def model(self) -> Filler:
        return build(self.recipe, self.sentences.codec)

    def groups(self, model: nn.Module) -> list[list[nn.Parameter]]:
        """Embedding, body, softmax layer."""
        assert isinstance(model, Filler)
        below = [list(model.embedder.parameters()), list(model.body.parameters())]
        lower = {p for group in below for p in group}
        return [*below, [p for p in model.parameters() if p not in lower]]

    def fingerprint(self) -> str:
        return self.sentences.fingerprint()

    def batch_count(self) -> int:
        return len(self._batches(0))

    def batches(self, epoch: int, start: int, rank: int, world: int) -> Iterator[BlankBatch]:
        for number, rows in list(enumerate(self._batches(epoch)))[start:]:
            own = rows.tolist()[rank::world] or rows.tolist()[:1]
            seed = ((self.recipe.seed * 100_003 + epoch) * 1_000_003 + number) * 101 + rank
            yield self._hidden([self.rows[i] for i in own], torch.Generator().manual_seed(seed % 2**63))

    def _batches(self, epoch: int) -> list[Tensor]:
        if self._order[0] != epoch:
            seed = (self.recipe.seed * 100_003 + epoch) % 2**63
            self._order = (epoch, bucketed([len(row) for row in self.rows], self.recipe.data.batch, seed=seed))
        return self._order[1]

    def _hidden(self, rows: list[Tensor], generator: torch.Generator) -> BlankBatch:
        words, lengths = pad(rows)
        draw = torch.rand(words.shape, generator=generator).masked_fill(~known(words), 2)
        # At least one of each sentence: the one with the least draw.
        blanks = (draw < self.recipe.data.share) | (draw == draw.amin(1, keepdim=True))
        return self._batch(words, blanks, lengths)

    def _batch(self, words: Tensor, blanks: Tensor, lengths: Tensor) -> BlankBatch:
        x = words.masked_fill(blanks, self.sentences.codec.blank)
        targets = words.masked_fill(~blanks, IGNORED)
        return BlankBatch(x.to(self.device), targets.to(self.device), lengths.to(self.device))

    def size(self, batch: BlankBatch) -> int:
        return int((batch.targets != IGNORED).sum())

    def tokens(self, batch: BlankBatch) -> int:
        return int(batch.lengths.sum())

    def loss(self, model: nn.Module, batch: BlankBatch, state: Any) -> tuple[Tensor, Any]:
        assert isinstance(model, Filler)
        return model.loss(*batch), None

    def evaluate(self, model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
        assert isinstance(model, Filler)
        rows, places = self.sentences.parts[split], self.sentences.blanks[split]
        order = sorted(range(len(places)), key=lambda i: len(rows[places[i][0]]))
        nats, right = 0.0, 0
        for first in range(0, len(order), self.recipe.data.batch_valid):
            chosen = [places[i] for i in order[first : first + self.recipe.data.batch_valid]]
            words, lengths = pad([rows[number] for number, _ in chosen])
            at = torch.tensor([place for _, place in chosen])
            batch = self._batch(words, F.one_hot(at, words.shape[1]).bool(), lengths)
            logits = model(batch.x, batch.targets != IGNORED, batch.lengths).float()
            wanted = batch.targets[batch.targets != IGNORED]
            nats += float(F.cross_entropy(logits, wanted, reduction="sum"))
            right += int((logits.argmax(-1) == wanted).sum())
        return metrics(split, nats, right, len(places))


def metrics(split: str, nats: float, right: int, count: int) -> dict[str, float]:
    """Of `count` blanks: how many are named right, and exp of the mean -log p of the hidden word."""
    return {
        f"{split}/accuracy": right / count,
        f"{split}/perplexity": math.exp(min(700.0, nats / count)),
        f"{split}/nats_per_blank": nats / count,
        f"{split}/blanks": float(count),
    }
