"""From a recipe and a codec to a model."""

import torch
from torch import Tensor, nn

from ...data import tags as schemes
from ...data.vocabulary import Vocabulary
from ...layers import CRF, Pool
from ...models import CharacterConvolution, CharacterReader, Embedder, Labeller, Sentences
from ...models.embedder import Characters as Letters
from ...models.heads import ClassHead, Head, LabelsHead, TagHead
from .. import body
from ..body import Built
from ..vectors import start_from
from . import recipe as recipes
from .codec import Codec
from .pretrained import from_run
from .recipe import LabellingRecipe


def build(
    recipe: LabellingRecipe, codec: Codec, found: dict[str, str | None], length: float = 1.0
) -> tuple[Labeller, str]:
    """The model, and a sentence on the vectors or the run that it started from ("" without).

    Args:
        found: the scheme of each tagging head's files.
        length: the mean length of the rows that are learnt.
    """
    model = recipe.model
    embedder = Embedder(
        len(codec.words),
        model.width,
        characters=_letters(recipe, codec),
        word_dropout=model.dropout.words,
        unknown_dropout=_singletons(codec.words, model.unknown),
        pairs=model.pairs,
    )
    reader = _sentences(model, embedder)
    built = body.build(model, reader.d_out)
    heads = {name: _head(name, head, codec, built, found.get(name), length) for name, head in recipe.heads.items()}
    weights = {name: head.weight for name, head in recipe.heads.items()}
    learned = model.balance == "learned"
    made = Labeller(reader, built.body, heads, weights, learned=learned, adversarial=model.adversarial)
    body.begin(model, made)
    if model.pretrained:
        return made, from_run(made, model, codec)
    return made, start_from(model.vectors, codec.words.itos, embedder.words) if model.vectors else ""


def _sentences(model: recipes.Model, embedder: Embedder) -> Embedder | Sentences:
    """What reads sentences by their words, if the text is a document of them."""
    told = model.sentences
    if told is None:
        return embedder
    below = body.build(model.model_copy(update={"hidden": told.hidden, "layers": 1}), embedder.d_out)
    return Sentences(embedder, below.body, Pool(told.pool, below.d_out, below.directions), told.dropout)


def _letters(recipe: LabellingRecipe, codec: Codec) -> Letters | None:
    told = recipe.model.characters
    if codec.letters is None:
        return None
    if told.kind == "convolution":
        return CharacterConvolution(len(codec.letters), told.width, told.hidden, dropout=told.dropout)
    plain = recipe.model.model_copy(update={"hidden": told.hidden, "options": {}})

    def cell(d_in: int, hidden: int) -> nn.Module:
        name = "lstm" if plain.cell in body.OTHERS else plain.cell
        return body.cell(plain.model_copy(update={"cell": name, "hidden": hidden}), d_in)

    return CharacterReader(len(codec.letters), told.width, told.hidden, cell, told.dropout)  # type: ignore[arg-type]


def _singletons(words: Vocabulary, chance: float) -> float | Tensor:
    """The chance for each word that was seen once; 0 for the others."""
    if not chance:
        return 0.0
    seen_once = torch.from_numpy(words.counts) == 1
    return torch.where(seen_once, chance, 0.0).float()


def _head(name: str, head: recipes.Head, codec: Codec, built: Built, scheme: str | None, length: float) -> Head:
    names = codec.names[name]
    if head.kind == "tags":
        learnt = scheme if head.learnt == "same" or scheme is None else head.learnt
        allowed = schemes.transitions(names.itos, learnt) if head.constrained and learnt is not None else None
        crf = CRF(len(names), allowed) if head.crf else None
        return TagHead(built.d_out, len(names), crf, head.dropout, length)
    pool = Pool(head.pool, built.d_out, built.directions)
    weights = _balanced(names) if head.classes == "balanced" else None
    if head.kind == "labels":
        return LabelsHead(pool, len(names), head.dropout, weights)
    return ClassHead(pool, len(names), head.dropout, weights, head.smoothing)


def _balanced(names: Vocabulary) -> Tensor:
    """n / (C n_c): the mean over the training rows is 1."""
    counts = torch.from_numpy(names.counts).float().clamp(min=1)
    return counts.sum() / (len(counts) * counts)
