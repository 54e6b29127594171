"""The recipe of filling in blanks: data, model, baselines."""

from typing import Annotated

from pydantic import Field

from ...data.tokens import SPLIT
from ...train.recipe import Recipe, Section, one_of
from ..body import Body


class Data(Section):
    path: str | None = None  # a text file (.gz too), or a folder with *train*, *valid*, *test*; a sentence a line
    fractions: tuple[float, float, float] = (0.90, 0.05, 0.05)  # a single file is cut in order
    tokens: Annotated[str, one_of("way to cut a text into tokens", SPLIT)] = "word"
    lower: bool = False
    min_count: int = Field(default=2, ge=1)
    max_size: int | None = Field(default=None, ge=4)
    max_length: int = Field(default=200, ge=2)  # tokens; longer lines are cut there
    share: float = Field(default=0.15, gt=0, lt=1)  # of a sentence's words that are blanks at once while learning
    places: int = Field(default=3, ge=1)  # of each sentence of valid and test, one blank at a time
    batch: int = Field(default=64, ge=1)  # sentences
    batch_valid: int = Field(default=256, ge=1)


class Model(Body):
    bidirectional: bool = True
    width: int = Field(default=128, ge=1)  # of a word's vector
    tied: bool = True


class Baselines(Section):
    one_sided: bool = True  # the same net from left to right, under the same recipe
    unigram: bool = True
    ngram_order: int = Field(default=5, ge=0)  # Kneser-Ney, which sees the words before the blank; 0: none


class BlanksRecipe(Recipe):
    task: str = "blanks"
    data: Data = Data()
    model: Model = Model()
    baselines: Baselines = Baselines()
