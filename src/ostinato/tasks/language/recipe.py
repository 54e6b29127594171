"""The recipe of a language model: data, model, baselines, samples."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ...data.tokens import KINDS
from ...train.recipe import Recipe, Section, one_of
from ..body import CONVOLUTION, TRANSFORMER, Body

_Rate = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Data(Section):
    path: str | None = None  # a text file (.gz too), or a folder with *train*, *valid*/*dev*, *test*
    fractions: tuple[float, float, float] = (0.90, 0.05, 0.05)  # a single file is cut in order
    tokens: Annotated[str, one_of("tokeniser", KINDS)] = "word"
    min_count: int | None = Field(default=None, ge=1)  # not given: 2 for "word" and "jieba", else 1
    max_size: int | None = Field(default=None, ge=2)  # not given: 20,000 for those, 8,192 for "bpe", else no limit
    rows: Literal["streams", "documents"] = "streams"  # documents: one line of the text a row, padded
    batch: int = Field(default=32, ge=1)
    steps: int = Field(default=35, ge=1)  # of truncated back-propagation through time
    valid_streams: int = Field(default=1, ge=1)  # while training; the figures at the end are always of one stream


class Regularise(Section):
    """Factors of penalties on the last layer's outputs, in the gradient alone (Merity et al. 2018: 2 and 1)."""

    activation: float = Field(default=0.0, ge=0)  # mean of h^2, after the dropout
    temporal: float = Field(default=0.0, ge=0)  # mean of (h_t - h_{t-1})^2, before it


class Model(Body):
    width: int | None = Field(default=None, ge=1)  # of the embedding; hidden when not given
    tied: bool = False
    regularise: Regularise = Regularise()
    vectors: str | None = None  # GloVe, word2vec or fastText file that the embedding starts from
    softmax: Literal["auto", "float32", "bfloat16"] = "auto"  # of the output products while training

    @model_validator(mode="after")
    def _reads_in_order(self) -> Self:
        if self.bidirectional or self.cell in (CONVOLUTION, TRANSFORMER):
            raise ValueError("a language model reads from left to right and streams: take a cell, in one direction")
        return self


class Baselines(Section):
    unigram: bool = True
    ngram_order: int = Field(default=5, ge=0)  # 0: none
    feedforward_epochs: int | None = Field(default=None, ge=0)  # not given: as many as the model; 0: none
    bzip2: bool = False  # a compressor, which learns from nothing but what it compresses


class Dynamic(Section):
    """Dynamic evaluation (Krause et al. 2018): the model goes on learning from the text that it is tested on."""

    lr: tuple[_Rate, ...] = ()  # tried on the valid part; empty: no dynamic evaluation
    decay: Annotated[tuple[_Share, ...], Field(min_length=1)] = (0.002,)  # tried too: share of the way back an update
    segment: int = Field(default=5, ge=1)  # tokens between two updates
    update: Literal["rms", "sgd"] = "rms"  # rms: each weight's lr by its gradients on the training part
    epsilon: float = Field(default=2e-5, gt=0)  # of "rms"
    streams: int = Field(default=100, ge=1)  # of "rms": pieces of the training part read side by side
    batches: int | None = Field(default=None, ge=1)  # of "rms": gradients taken; not given: all of the training part
    tune_tokens: int = Field(default=30_000, ge=2)  # of the valid part, on which lr and decay are chosen


class Samples(Section):
    prompts: list[str] = Field(default_factory=list)  # empty: the beginning of the validation text
    tokens: int = Field(default=120, ge=0)
    temperature: float = Field(default=0.8, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)


class LanguageRecipe(Recipe):
    task: str = "language"
    data: Data = Data()
    model: Model = Model()
    baselines: Baselines = Baselines()
    dynamic: Dynamic = Dynamic()
    samples: Samples = Samples()
