"""The text that a language model and its baselines read: the same tokens, and figures that can be compared."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...data.files import Splits, read_splits
from ...data.splitting import join_words
from ...data.tokens import Tokenizer
from ...train.recipe import RecipeError
from ..table import PARTS
from .recipe import LanguageRecipe

BYTE = math.log(256)  # nats
MANY_UNKNOWN = 0.1  # share of a part's tokens


@dataclass(frozen=True)
class Text:
    """A split as tokens, and what it takes to speak of it in characters; all but `ids` is of the scored tokens."""

    ids: np.ndarray  # [N] int64; the first one is not scored
    characters: int
    bytes: int  # in UTF-8
    unknown: int = 0  # tokens that became <unk>
    lost: float = 0.0  # nats to write out what the tokens do not keep: see `lost`


@dataclass(frozen=True)
class Corpus:
    """What the model and every baseline read: the same tokens of the same text."""

    tokenizer: Tokenizer
    splits: dict[str, Text]
    raw: Splits

    @classmethod
    def read(cls, recipe: LanguageRecipe, tokenizer: Tokenizer | None = None) -> "Corpus":
        """Reads the recipe's text; the vocabulary is `tokenizer`'s, or made from the training part.

        Raises:
            RecipeError: no data.path. FileNotFoundError, ValueError: as `read_splits` and `Tokenizer.train`.
        """
        data = recipe.data
        if data.path is None:
            raise RecipeError(
                f"recipe {recipe.name or recipe.task} needs a text ({recipe.about.needs or 'any UTF-8 file'}): "
                "add -o data.path=FILE_OR_FOLDER"
            )
        raw = read_splits(data.path, data.fractions)
        if tokenizer is None:
            words = data.tokens in ("word", "jieba")
            least = data.min_count or (2 if words else 1)
            most = data.max_size or (20_000 if words else None)
            tokenizer = Tokenizer.train(data.tokens, raw.train, min_count=least, max_size=most)
        splits = {name: read_tokens(tokenizer, text, name != "train") for name, text in raw._asdict().items()}
        for name, text in splits.items():
            enough(text, f"the {name} part of {data.path}")
        return cls(tokenizer, splits, raw)

    def save(self, path: Path) -> None:
        self.tokenizer.save(path)

    def facts(self) -> dict[str, Any]:
        sizes = {name: len(text.ids) for name, text in self.splits.items()}
        return {"vocabulary": self.tokenizer.size, "tokens": sizes}

    def fingerprint(self) -> str:
        """SHA-256 of all tokens, in hex."""
        return hashlib.sha256(b"".join(text.ids.tobytes() for text in self.splits.values())).hexdigest()

    def doubts(self, splits: Collection[str] = PARTS) -> Iterator[str]:
        """What a user should know before believing a figure of the test part."""
        text, kind = self.splits["test"], self.tokenizer.kind
        yield from unknown_notes({"test/unknown_share": text.unknown / (len(text.ids) - 1)})
        unspaced = sum("\u3040" <= c <= "\u9fff" for c in self.raw.test) / len(self.raw.test)
        if kind in ("word", "space") and unspaced > 0.3:
            yield f"the text writes its words without spaces, and {kind!r} cuts at spaces: try -o data.tokens=char"


def unknown_notes(figures: Mapping[str, float]) -> Iterator[str]:
    """A sentence for each part whose perplexity says little, because much of it is <unk>."""
    for split in ("valid", "test"):
        share = figures.get(f"{split}/unknown_share", 0.0)
        if share > MANY_UNKNOWN:
            yield f"{share:.0%} of the {split} part's tokens are <unk>: perplexity says little about such a text"


def enough(text: Text, what: str) -> None:
    """Checks that a text has something to predict.

    Raises:
        RecipeError: it has fewer than two tokens.
    """
    if len(text.ids) < 2:
        raise RecipeError(
            f"{what} needs two tokens or more and has {len(text.ids)}; give a longer text or other data.fractions"
        )


def read_tokens(tokenizer: Tokenizer, text: str, scored: bool = True) -> Text:
    """A text as `tokenizer` cuts it; where it is not scored, its tokens alone are counted."""
    ids = tokenizer.encode(text)
    if not (scored and len(ids)):
        return Text(ids, 0, 0)
    strange = ids == tokenizer.unknown if tokenizer.unknown is not None else np.zeros(len(ids), dtype=bool)
    spaced = tokenizer.kind in ("word", "space")
    tokens = tokenizer.tokens(text) if spaced or strange.any() else []
    # A word that the text itself writes as <unk> (the Penn Treebank does) is not lost.
    odd = [i for i in np.flatnonzero(strange) if tokens[i] not in tokenizer.stoi]
    first = len(tokens[0] if odd[:1] == [0] else tokenizer.decode(ids[:1]))
    scale = (max(1, len(text) - first), max(1, len(text.encode()) - len(text[:first].encode())))
    spelling = sum(BYTE * (len(tokens[i].encode()) + 1) for i in odd if i)
    return Text(ids, *scale, len(odd) - (odd[:1] == [0]), spelling + (_spacing(tokens, text) if spaced else 0.0))


def _spacing(tokens: list[str], text: str) -> float:
    """Nats to write the white space between tokens, given the tokens, by a code that learns as it goes.

    Where `join_words` would put a space, and where not, the gaps seen before are coded by how often they came; a gap
    never seen before is written out in bytes. A decoder can
    follow it: an honest length, if no short one.
    """
    seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
    nats = 0.0
    for gap, guess in zip(_gaps(tokens, text), _gaps(tokens, join_words(tokens)), strict=True):
        known = seen[guess]
        new = 0.0 if known[gap] else BYTE * (len(gap.encode()) + 1)
        nats += math.log(known.total() + 1) - math.log(max(1, known[gap])) + new
        known[gap] += 1
    return nats


def _gaps(tokens: list[str], text: str) -> Iterator[str]:
    """The white space before each token but the first."""
    end = 0
    for number, token in enumerate(tokens):
        at = end
        while text[at] != "\n" and text[at].isspace():
            at += 1
        if number:
            yield text[end:at]
        # The end of a line is <eos>, and so is the word itself.
        end = at + (1 if text[at] == "\n" else len(token))


def metrics(split: str, nats: np.ndarray, text: Text) -> dict[str, float]:
    """Perplexity and its relatives from -log p of every token but the first, [N - 1] float64 in nats.

    Per character (and byte) is what it costs to write the text itself: the tokens, and what they do not keep. An
    unknown word is written out in bytes, and so is unforeseen white space. Otherwise the fewer words a model knew, the
    better it would look.
    """
    total, count = float(nats.sum()), len(nats)
    whole = total + text.lost
    return {
        f"{split}/perplexity": math.exp(min(700.0, total / count)),
        f"{split}/nats_per_token": total / count,
        f"{split}/nats_per_char": whole / text.characters,
        f"{split}/bits_per_char": whole / text.characters / math.log(2),
        f"{split}/bits_per_byte": whole / text.bytes / math.log(2),
        f"{split}/unknown_share": text.unknown / count,
        f"{split}/tokens": float(count),
    }
