"""The recipe of a language model: data, model, baselines, samples."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ... import cells as _cells  # noqa: F401 - fills the registry
from ...data.tokens import KINDS
from ...registry import cells, near
from ...train.recipe import Recipe, Section, one_of

MEMORYLESS = "feedforward"  # no cell: a net that sees the current token only


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


class Dropout(Section):
    kind: Literal["locked", "plain"] = "locked"  # locked: one mask for all steps of a batch
    words: float = Field(default=0.0, ge=0, lt=1)  # whole rows of the embedding
    input: float = Field(default=0.0, ge=0, lt=1)
    between: float = Field(default=0.0, ge=0, lt=1)
    output: float = Field(default=0.0, ge=0, lt=1)


class Initial(Section):
    """Initialisers by name, per kind of weight: see `ostinato.initialise`."""

    input: str | None = None
    recurrent: str | None = None
    bias: str | None = None
    embedding: str | None = None
    output: str | None = None
    forget_bias: float | None = None


def _known(cell: str) -> str:
    # Asked anew each time: a cell of the user's own may have been registered since.
    if cell not in cells and cell != MEMORYLESS:
        raise ValueError(f"no cell is called {cell!r}{near(cell, (*cells, MEMORYLESS))}")
    return cell


class Model(Section):
    cell: Annotated[str, AfterValidator(_known)] = "lstm"
    hidden: int = Field(default=256, ge=1)
    layers: int = Field(default=1, ge=1)
    width: int | None = Field(default=None, ge=1)  # of the embedding; hidden when not given
    tied: bool = False
    residual: bool = False  # norm + skip around each layer but the first
    learned_state: bool = False
    dropout: Dropout = Dropout()
    initial: Initial = Initial()
    vectors: str | None = None  # GloVe, word2vec or fastText file that the embedding starts from
    softmax: Literal["auto", "float32", "bfloat16"] = "auto"  # of the output products while training
    options: dict[str, Any] = Field(default_factory=dict)  # further arguments of the cell


class Baselines(Section):
    unigram: bool = True
    ngram_order: int = Field(default=5, ge=0)  # 0: none
    feedforward_epochs: int | None = Field(default=None, ge=0)  # not given: as many as the model; 0: none
    bzip2: bool = False  # a compressor, which learns from nothing but what it compresses


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
    samples: Samples = Samples()
