"""The language-model task: text in, p(next token) out."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...data.batches import TokenBatch, documents, stream_count, streams
from ...data.tokens import Tokenizer
from ...data.vectors import embedding_from, read_vectors
from ...initialise import initialise
from ...layers import Dropout, LearnedState, LockedDropout, Pointwise, Residual, Stack
from ...models import LanguageModel, score, score_documents
from ...recurrent import Cell, Recurrent
from ...registry import cells
from ...train.recipe import RecipeError
from ...train.task import Task
from .corpus import Corpus, Text, metrics
from .recipe import MEMORYLESS, LanguageRecipe, Model


def build(recipe: Model, tokenizer: Tokenizer) -> tuple[LanguageModel, str]:
    """The model that a recipe describes, and a sentence on the word vectors it started from ("" without)."""
    width = recipe.width or recipe.hidden
    mask: Callable[[float], Recurrent[Any]] = LockedDropout if recipe.dropout.kind == "locked" else Dropout
    parts: list[Recurrent[Any]] = [mask(recipe.dropout.input)] if recipe.dropout.input else []
    for layer in range(recipe.layers):
        d_in = width if layer == 0 else recipe.hidden
        if recipe.cell == MEMORYLESS:
            part: Recurrent[Any] = Pointwise(nn.Sequential(nn.Linear(d_in, recipe.hidden), nn.Tanh()))
        else:
            cell = _cell(recipe, d_in)
            part = LearnedState(cell) if recipe.learned_state else cell
        skip = recipe.residual and d_in == recipe.hidden
        parts.append(Residual(part, nn.LayerNorm(d_in)) if skip else part)
        p = recipe.dropout.output if layer == recipe.layers - 1 else recipe.dropout.between
        parts += [mask(p)] if p else []
    model = LanguageModel(
        tokenizer.size, width, Stack(*parts), recipe.hidden, recipe.tied, recipe.dropout.words, recipe.softmax
    )
    initialise(model, **{k: v for k, v in recipe.initial.model_dump().items() if v is not None})
    if recipe.vectors is None:
        return model, ""
    words = {*tokenizer.itos, *(w.lower() for w in tokenizer.itos)}
    vectors = read_vectors(recipe.vectors, words)
    if vectors.matrix.shape[1] != width:
        raise RecipeError(f"{recipe.vectors} has vectors of {vectors.matrix.shape[1]} numbers; set model.width to that")
    matrix, coverage = embedding_from(vectors, tokenizer.itos, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.embedding.weight.copy_(matrix)
    return model, f"word vectors cover {coverage.found} of {coverage.total} tokens ({coverage.share:.1%})"


def _cell(recipe: Model, d_in: int) -> Cell[Any]:
    try:
        return cells[recipe.cell](d_in, recipe.hidden, **recipe.options)
    except TypeError as error:
        raise RecipeError(f"model.options {recipe.options} do not fit the cell {recipe.cell}: {error}") from None


class LanguageTask(Task[TokenBatch]):
    """Next-token prediction on a text.

    Args:
        recipe: data and model; the rest of it does not matter here.
        corpus: the text, read once and shared with the baselines.
        device: where the batches go.
    """

    monitor: ClassVar[str] = "nats_per_token"

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
        """The whole split scored as one stream (`quick`: as `data.valid_streams` of them, side by side)."""
        assert isinstance(model, LanguageModel)
        streams = self.recipe.data.valid_streams if quick else 1
        return figures(model, split, self.corpus.splits[split], line_end(self.recipe, self.corpus.tokenizer), streams)


def line_end(recipe: LanguageRecipe, tokenizer: Tokenizer) -> int | None:
    """The token after which a model of documents begins anew; None for a model of streams."""
    return int(tokenizer.encode("\n")[-1]) if recipe.data.rows == "documents" else None


def figures(model: LanguageModel, split: str, text: Text, end: int | None = None, streams: int = 1) -> dict[str, float]:
    """The metrics of a model on a text, read as so many streams, or anew after each `end`: as it was trained."""
    ids = torch.from_numpy(text.ids).to(model.embedding.weight.device)
    nats = score(model, ids, streams=streams) if end is None else score_documents(model, ids, end)
    return metrics(split, nats.cpu().numpy(), text)
