"""Where a labeller's weights start: from a language model of its own training, or from a run of another one."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from ...models import Embedder, Labeller
from ...models.bilm import BiLM
from ...train.recipe import RecipeError
from .. import language
from .codec import Codec
from .recipe import Model

# What both recipes say of the layers, and must say alike.
ALIKE = ("cell", "hidden", "layers", "residual", "learned_state", "options")


@torch.no_grad()
def from_language_model(model: Labeller, start: BiLM) -> None:
    """Embedding and body as the language model learnt them; the heads stay as they are."""
    weight = _embedding(model)
    weight.copy_(start.embedder.words.weight)
    weight[0] = 0  # the tied softmax moved it, and padding has the vector zero
    _fill(model, (w for direction in start.directions for w in direction.parameters()))


@torch.no_grad()
def from_run(model: Labeller, recipe: Model, codec: Codec) -> str:
    """The body of a run of `ostinato train language`, and its embedding's rows of the words that both know.

    Gives a sentence on the words. Raises RecipeError where layers differ, or no word is known to both; RunError and
    CheckpointError as a run that is opened.
    """
    assert recipe.pretrained is not None
    found, theirs, tokenizer, _ = language.load(Path(recipe.pretrained))
    width = found.embedding.embedding_dim
    wrong = [] if width == recipe.width else [f"model.width is {recipe.width} here and {width} there"]
    for key in ALIKE:
        mine, other = getattr(recipe, key), getattr(theirs.model, key)
        wrong += [] if mine == other else [f"model.{key} is {mine!r} here and {other!r} there"]
    if wrong:
        raise RecipeError(
            f"model.pretrained = {recipe.pretrained} has other layers: {'; '.join(wrong)}; make them alike"
        )
    pairs = [(i, tokenizer.stoi[word]) for i, word in enumerate(codec.words.itos) if word in tokenizer.stoi]
    if len(pairs) < 2:  # the unknown word is known to both as a rule
        raise RecipeError(
            f"the vocabulary of model.pretrained = {recipe.pretrained} ({tokenizer.kind} tokens) has no word of this "
            "one; take a run whose data.tokens and folding are those of [data]"
        )
    here, there = torch.tensor(pairs).T
    weight = _embedding(model)
    weight[here] = found.embedding.weight.detach().cpu()[there].to(weight)
    _fill(model, found.body.parameters())
    total = len(codec.words)
    return f"{len(pairs)} of {total} words ({len(pairs) / total:.1%}) and the layers start from {recipe.pretrained}"


def _embedding(model: Labeller) -> Tensor:
    assert isinstance(model.embedder, Embedder)
    return model.embedder.words.weight


def _fill(model: Labeller, weights: Iterable[Tensor]) -> None:
    """The body's weights in their order: dropouts, which may differ, have none."""
    for mine, theirs in zip(model.body.parameters(), weights, strict=True):
        assert mine.shape == theirs.shape
        mine.copy_(theirs)
