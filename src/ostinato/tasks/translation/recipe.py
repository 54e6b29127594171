"""Recipes of translation: pairs of sentences, encoder and decoder, search, baselines."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ...data.tokens import KINDS
from ...layers.attention import SCORES
from ...metrics.translation import TOKENIZERS
from ...train.recipe import Recipe, Section, one_of
from ..body import OTHERS, Body, Initial
from ..table import TableData

NONE = "none"  # no attention: one fixed vector
Tokens = Annotated[str, one_of("kind of token", KINDS)]


class PairData(TableData):
    """Rows with a sentence and its translation."""

    source: str = "source"  # the column that is read
    target: str = "target"  # the column that is written
    tokens: Tokens = "bpe"  # of the source
    target_tokens: Tokens | None = None  # where not given: as the source's
    joint: bool = True  # one vocabulary, made of both languages
    min_count: int = Field(default=1, ge=1)
    max_size: int | None = Field(default=None, ge=3)  # of the vocabulary; for bpe 8192 where not given
    target_max_size: int | None = Field(default=None, ge=3)  # where not given: as the source's
    lower: bool = False  # the source in lower case; the target keeps its own
    max_length: int = Field(default=100, ge=1)  # tokens; pairs with a longer side are not learnt from


class Sampling(Section):
    """Scheduled sampling: how often training reads the true word, see `models.seq2seq.GoldShare`."""

    kind: Literal["none", "linear", "exponential", "sigmoid"] = "none"
    k: float = Field(default=1.0, gt=0)
    floor: float = Field(default=0.0, ge=0, le=1)


class Model(Section):
    width: int = Field(default=256, ge=1)  # of a token's vector
    encoder: Body = Body(hidden=256, bidirectional=True)
    decoder: Body = Body(hidden=512)
    attention: Annotated[str, one_of("attention score", (NONE, *SCORES))] = "general"
    feeding: bool = True  # what a step says goes into the next one
    context: bool = False  # without attention: the fixed vector goes into every step
    d_out: int | None = Field(default=None, ge=1)  # of what the softmax reads; where not given: width
    tied: bool = True  # one matrix for target embedding and softmax
    shared: bool = True  # and for the source embedding
    dropout: float = Field(default=0.0, ge=0, lt=1)  # on embeddings and on what the softmax reads
    locked: bool = False  # that dropout takes the same features at all steps of a row
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    sampling: Sampling = Sampling()
    initial: Initial = Initial()  # of the whole model; what encoder and decoder name for themselves comes after

    @property
    def attends(self) -> bool:
        return self.attention != NONE


class Search(Section):
    beam: int = Field(default=5, ge=1)
    length_penalty: float = 1.0  # exponent; 0 compares log p alone, and so prefers short sentences
    ratio: float = Field(default=1.5, gt=0)  # a translation has at most ratio * source tokens + extra ones
    extra: int = Field(default=10, ge=1)
    bleu: Annotated[str, one_of("sacrebleu tokeniser", TOKENIZERS)] = "13a"  # of sacrebleu: "zh" for Chinese


class Baselines(Section):
    copy_source: bool = True  # the source itself as its translation: a floor
    without_attention_epochs: int = Field(default=0, ge=0)  # all else as the recipe says; 0: none


class TranslationRecipe(Recipe):
    task: str = "translation"
    data: PairData = PairData()
    model: Model = Model()
    search: Search = Search()
    baselines: Baselines = Baselines()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        data, model = self.data, self.model
        if data.joint and (data.target_tokens or data.tokens) != data.tokens:
            raise ValueError(
                f"one vocabulary has one kind of token, but the source has {data.tokens} and the target "
                f"{data.target_tokens}: set data.joint = false"
            )
        if model.shared and not data.joint:
            raise ValueError("model.shared needs one vocabulary: set data.joint = true, or model.shared = false")
        if model.shared and not model.tied:
            raise ValueError("model.shared goes with model.tied: one matrix for both embeddings and the softmax")
        if model.context and model.attends:
            raise ValueError("model.context feeds a fixed vector to every step: it goes with model.attention = none")
        if model.decoder.bidirectional or model.decoder.cell in OTHERS:
            raise ValueError("the decoder writes word by word: model.decoder takes a cell, in one direction")
        return self
