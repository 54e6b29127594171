"""Recipes of classification, tagging and several of them at once: data, model, heads, baselines."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ...data.tags import SCHEMES
from ...data.tokens import SPLIT
from ...layers.pool import KINDS as POOLS
from ...models.heads import Heads
from ...train.recipe import Optimiser, Recipe, Schedule, Section, one_of
from ..body import OTHERS, Body, Dropping
from ..table import GIVEN, TextData

NONE = "none"  # tags that are no chunks: parts of speech


class Characters(Section):
    """How words are read by their letters."""

    kind: Literal["none", "reader", "convolution"] = "none"
    width: int = Field(default=25, ge=1)  # of a letter's vector
    hidden: int = Field(default=25, ge=1)  # of each direction, or filters
    dropout: float = Field(default=0.0, ge=0, lt=1)
    longest: int = Field(default=24, ge=1)  # letters; longer words are read by their first and last ones


class Sentences(Section):
    """Documents: each token of the text column is a whole sentence, read by words before the body reads sentences."""

    tokens: Annotated[str, one_of("way to cut a text into tokens", SPLIT)] = "word"
    hidden: int = Field(default=100, ge=1)  # of the layer over words, of the model's own cell
    pool: Annotated[str, one_of("pooling", POOLS)] = "max"
    dropout: float = Field(default=0.0, ge=0, lt=1)  # of the sentences' vectors


class Model(Body):
    width: int = Field(default=100, ge=1)  # of a word's vector
    vectors: str | None = None  # GloVe, word2vec or fastText file that the embedding starts from
    pretrained: str | None = None  # a run of `ostinato train language`: words known to both, and the layers, start so
    unknown: float = Field(default=0.0, ge=0, lt=1)  # chance of words seen once to be read as unknown while training
    pairs: int = Field(default=0, ge=0)  # rows of a table of hashed pairs of neighbouring words; 0: none
    characters: Characters = Characters()
    sentences: Sentences | None = None  # given: the text is a document of sentences
    adversarial: float = Field(default=0.0, ge=0)  # how far words move against the model while training, see Labeller
    balance: Literal["fixed", "learned"] = "fixed"  # weights of the heads' losses


_POOLED = frozenset({"pool", "classes"})
_OWN = {
    "class": _POOLED | {"smoothing"},
    "labels": _POOLED | {"separator"},
    "tags": frozenset({"scheme", "learnt", "crf", "constrained", "broken"}),
}


class Head(Section):
    """One question. `kind`: class (one of several), labels (any number of them), tags (one a token)."""

    kind: Literal["class", "labels", "tags"] = "class"
    column: str | None = None  # the head's own name where not given
    weight: float = Field(default=1.0, gt=0)  # of its loss among others
    dropout: float = Field(default=0.0, ge=0, lt=1)
    unseen: Literal["refuse", "wrong"] = "refuse"  # answers that only valid or test have; wrong: scored as missed
    # class and labels; which kind takes which key: see _OWN
    pool: Annotated[str, one_of("pooling", POOLS)] = "max_mean"
    classes: Literal["plain", "balanced"] = "plain"  # balanced: rare classes count as much as frequent ones
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    separator: str = ","  # of labels in one column
    # tags
    scheme: Annotated[str, one_of("tagging scheme", ("auto", NONE, *SCHEMES))] = "auto"  # of the files
    learnt: Annotated[str, one_of("tagging scheme", ("same", *SCHEMES))] = "same"  # what the model writes
    crf: bool = True
    constrained: bool = True  # only valid sequences of tags
    broken: Literal["refuse", "read"] = "refuse"  # tags that break their scheme; read: by the rules of conlleval

    @property
    def tagging(self) -> bool:
        return self.kind == "tags"

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        """No key is set that this kind of head has no use for."""
        for key in sorted(set().union(*_OWN.values()) - _OWN[self.kind]):
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:  # the recipe of a run says every key
                kinds = " and ".join(kind for kind, own in _OWN.items() if key in own)
                raise ValueError(
                    f"{key} = {value!r} is for heads of kind {kinds}, and has no effect here; leave it out"
                )
        return self


class Baselines(Section):
    majority: bool = True  # of classes; of tags: the most frequent tag of each word
    words: bool = True  # bag-of-words logistic regression; needs the extra `baselines`
    hmm: bool = True  # of tags
    convolution_epochs: int = Field(default=0, ge=0)  # a TCN under the same recipe; 0: none
    transformer_epochs: int = Field(default=0, ge=0)
    memoryless_epochs: int = Field(default=0, ge=0)


class Pretraining(Section):
    """A language model of the training part's texts, from whose embedding and layers the labeller starts."""

    epochs: int = Field(default=0, ge=0)  # 0: no pre-training
    batch: int = Field(default=64, ge=1)  # streams of texts side by side
    steps: int = Field(default=70, ge=1)  # of truncated back-propagation through time
    answers: int = Field(default=10_000, ge=2)  # the most frequent words are predicted; rarer ones as the unknown one
    tied: bool = True  # one matrix for embedding and softmax
    dropout: Dropping = Dropping()  # instead of model.dropout
    activation: float = Field(default=0.0, ge=0)  # AR and TAR, as model.regularise of `ostinato train language`
    temporal: float = Field(default=0.0, ge=0)
    held_out: int = Field(default=500, ge=1)  # texts that only tell its perplexity; a tenth of all at most
    max_steps: int | None = Field(default=None, ge=1)
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    clip_norm: float | None = Field(default=1.0, gt=0)


def _stratified(given: dict[str, Any]) -> dict[str, Any]:
    """The recipe with cuts that keep the shares of its first head of classes."""
    heads, data = given.get("heads"), given.get("data", {})
    if not isinstance(heads, dict) or not isinstance(data, dict):
        return given
    of_classes = (
        head.get("column") or name
        for name, head in heads.items()
        if isinstance(head, dict) and head.get("kind", "class") == "class"
    )
    column = next(of_classes, None)
    if column is None:
        return given
    # None is what the user asked for: "" says so in the recipe of the run, which leaves out what is None.
    return {**given, "data": {**data, "stratify": data.get("stratify", column) or ""}}


class LabellingRecipe(Recipe):
    task: str = "classification"
    data: TextData = TextData()
    model: Model = Model()
    heads: dict[str, Head] = Field(default_factory=dict)
    baselines: Baselines = Baselines()
    pretrain: Pretraining = Pretraining()

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, given: Any) -> Any:
        """What a recipe of this task leaves out as a rule: its one head, and the column that is read."""
        if not isinstance(given, dict):
            return given
        usual = {"classification": {"label": {"kind": "class"}}, "tagging": {"tags": {"kind": "tags"}}}
        task, heads, data = given.get("task"), given.get("heads"), given.get("data", {})
        if not heads and task in usual:
            given = {**given, "heads": usual[task]}
        elif task == "tagging" and isinstance(heads, dict):
            known = {name: {"kind": "tags", **head} if isinstance(head, dict) else head for name, head in heads.items()}
            given = {**given, "heads": known}
        if task == "tagging" and isinstance(data, dict):
            given = {**given, "data": {"text": "words", "tokens": GIVEN, "min_count": 1, **data}}
        return _stratified(given)

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        kinds = [head.kind for head in self.heads.values()]
        named = f" (the heads are {', '.join(self.heads)})" * (len(kinds) > 1)
        if self.task == "classification" and (len(kinds) != 1 or "tags" in kinds):
            raise ValueError(
                f"classification has one head, of kind class or labels; several are for task = multitask{named}"
            )
        if self.task == "tagging" and kinds != ["tags"]:
            raise ValueError(f"tagging has one head, of kind tags; several are for task = multitask{named}")
        if self.task == "multitask" and len(kinds) < 2:
            raise ValueError("multitask needs two heads or more, such as [heads.intent] and [heads.slot]")
        if "tags" in kinds and self.data.max_length is not None:
            raise ValueError("data.max_length cuts texts, and each token has a tag: leave it out, or cut the sentences")
        for name in self.heads:
            if Heads.refuses(name):
                raise ValueError(f"a head cannot be called {name!r}: take another name, and say its column")
        return self

    @model_validator(mode="after")
    def _starts_fit(self) -> Self:
        model = self.model
        starts = {"pretrain.epochs": self.pretrain.epochs, "model.pretrained": model.pretrained}
        given = [key for key, value in {**starts, "model.vectors": model.vectors}.items() if value]
        if not any(starts.values()):
            return self
        if given[1:]:
            raise ValueError(f"{' and '.join(given)} each say what the model starts from; leave one of them")
        if model.cell in OTHERS:
            raise ValueError(f"{given[0]} asks for a cell that reads in order, and {model.cell} is none")
        if model.characters.kind != "none" or model.sentences is not None:
            raise ValueError(
                f"{given[0]} starts from words alone; set model.characters.kind = none, and leave model.sentences out"
            )
        if model.bidirectional and (model.pretrained or model.layers > 1 or model.residual):
            raise ValueError(
                f"{given[0]} fills layers that read from left to right, or by pretrain.epochs the one layer of a "
                "bidirectional model without residual: above it each direction would see what it is to predict"
            )
        if self.pretrain.epochs and self.data.folds:
            raise ValueError("pretrain.epochs and data.folds do not go together; set one of them to 0")
        return self

    @property
    def tagging(self) -> bool:
        """Whether a head tags tokens: then the text comes as tokens."""
        return any(head.tagging for head in self.heads.values())
