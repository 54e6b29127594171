"""The language-model task: text in, p(next token) out."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...data.batches import TokenBatch, documents, stream_count, streams
from ...data.tokens import Tokenizer
from ...layers import Stack
from ...models import LanguageModel, score, score_documents
from ...train.task import Task
from .. import body
from ..vectors import start_from
from .corpus import Corpus, Text, metrics
from .dynamic import dynamic_figures
from .recipe import LanguageRecipe, Model


def build(recipe: Model, tokenizer: Tokenizer) -> tuple[LanguageModel, str]:
    """The model that a recipe describes, and a sentence on the word vectors it started from ("" without)."""
    width, dropped = recipe.width or recipe.hidden, recipe.dropout
    (output,) = body.masks(recipe, dropped.output) or [None]
    inner = Stack(*body.layers(recipe, width))
    model = LanguageModel(
        tokenizer.size, width, inner, recipe.hidden, recipe.tied, dropped.words, recipe.softmax, output,
        recipe.regularise.activation, recipe.regularise.temporal,
    )  # fmt: skip
    body.begin(recipe, model)
    return model, start_from(recipe.vectors, tokenizer.itos, model.embedding) if recipe.vectors else ""


class LanguageTask(Task[TokenBatch]):
    """Next-token prediction on a text.

    Args:
        recipe: data and model; the rest of it does not matter here.
        corpus: the text, read once and shared with the baselines.
        device: where the batches go.
    """

    monitor = "nats_per_token"

    def __init__(self, recipe: LanguageRecipe, corpus: Corpus, device: torch.device) -> None:
        self.recipe, self.corpus, self.device = recipe, corpus, device
        self.ids = torch.from_numpy(corpus.splits["train"].ids).to(device)
        self.vectors = ""
        if recipe.data.rows == "documents":
            # The line end before a document is its context: so its first token is predicted too.
            lines = ["\n" + line for line in corpus.raw.train.splitlines(keepends=True) if line.strip()]
            self.rows = [torch.from_numpy(corpus.tokenizer.encode(line)) for line in lines]

    def model(self) -> LanguageModel:
        model, self.vectors = build(self.recipe.model, self.corpus.tokenizer)
        return model

    def notes(self) -> list[str]:
        return [self.vectors] if self.vectors else []

    def groups(self, model: nn.Module) -> list[list[nn.Parameter]]:
        assert isinstance(model, LanguageModel)
        return model.groups()

    def fingerprint(self) -> str:
        return self.corpus.fingerprint()

    def batch_count(self) -> int:
        data = self.recipe.data
        if data.rows == "documents":
            return -(-len(self.rows) // data.batch)
        return stream_count(len(self.ids), data.batch, data.steps)

    def batches(self, epoch: int, start: int, rank: int, world: int) -> Iterator[TokenBatch]:
        data = self.recipe.data
        if data.rows == "streams":
            yield from streams(self.ids, data.batch, data.steps, start=start, rank=rank, world=world)
            return
        seed = (self.recipe.seed * 100_003 + epoch) % 2**63
        for batch in documents(self.rows, data.batch, seed=seed, start=start, rank=rank, world=world):
            assert batch.lengths is not None
            moved = (batch.inputs.to(self.device), batch.targets.to(self.device), batch.lengths.to(self.device))
            yield TokenBatch(*moved, None, batch.first)

    def size(self, batch: TokenBatch) -> int:
        return batch.targets.numel() if batch.lengths is None else int((batch.targets >= 0).sum())

    def loss(self, model: nn.Module, batch: TokenBatch, state: Any) -> tuple[Tensor, Any]:
        assert isinstance(model, LanguageModel)
        carried = None if batch.first else state
        return model.loss(batch.inputs, batch.targets, carried, batch.lengths, batch.resets)

    def evaluate(self, model: nn.Module, split: str, quick: bool = False) -> dict[str, float]:
        """The whole split scored as one stream (`quick`: as `data.valid_streams` of them, side by side).

        On "test" also by dynamic evaluation, where the recipe asks for it.
        """
        assert isinstance(model, LanguageModel)
        text, end = self.corpus.splits[split], line_end(self.recipe, self.corpus.tokenizer)
        found = figures(model, split, text, end, self.recipe.data.valid_streams if quick else 1)
        return found | (dynamic_figures(model, self.recipe, self.corpus, text, end) if split == "test" else {})


def line_end(recipe: LanguageRecipe, tokenizer: Tokenizer) -> int | None:
    """The token after which a model of documents begins anew; None for a model of streams."""
    return int(tokenizer.encode("\n")[-1]) if recipe.data.rows == "documents" else None


def figures(model: LanguageModel, split: str, text: Text, end: int | None = None, streams: int = 1) -> dict[str, float]:
    """The metrics of a model on a text, read as so many streams, or anew after each `end`: as it was trained."""
    ids = torch.from_numpy(text.ids).to(model.embedding.weight.device)
    nats = score(model, ids, streams=streams) if end is None else score_documents(model, ids, end)
    return metrics(split, nats.cpu().numpy(), text)
