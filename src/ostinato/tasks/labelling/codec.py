"""Text to numbers and answers back to text: what a trained model needs besides its weights."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.buckets import widen
from ...data.tags import converted
from ...data.tokens import SPLIT
from ...data.vocabulary import Vocabulary
from ...storage import atomic_write
from ..table import GIVEN, TextData
from ..trained import codec_of

FORMAT, VERSION = "ostinato labelling", 1
DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class Codec:
    """How a text becomes the rows that a model reads, and what its answers are called.

    `letters` is None where words are read as a whole; `longest` is how many letters of a word are read, half of them
    from its end. `names` are the classes, labels or tags of each head.
    """

    data: TextData  # the keys that say how a text is cut: text, tokens, lower, digits, replace, max_length
    words: Vocabulary
    letters: Vocabulary | None
    longest: int
    names: dict[str, Vocabulary]
    sentences: str | None = None  # how a token is cut into words, where it is a whole sentence
    schemes: dict[str, str | None] = field(default_factory=dict)  # of each head's tags in the files; None: no chunks

    def tokens(self, text: str | Sequence[str]) -> list[str]:
        """The tokens of a text as they stand, before anything is folded.

        A text for a model of given tokens is cut at white space; a list of tokens is taken as it is.
        """
        if not isinstance(text, str):
            return list(text)
        text = replaced(self.data, text)
        return text.split() if self.data.tokens == GIVEN else SPLIT[self.data.tokens](text)

    def shortened(self, tokens: list[str]) -> list[str]:
        """The first and the last of a text that is too long."""
        most = self.data.max_length
        if most is None or len(tokens) <= most:
            return tokens
        return tokens[: most - most // 2] + tokens[len(tokens) - most // 2 :]

    def as_filed(self, head: str, tags: list[str]) -> list[str]:
        """A row's tags in the scheme of the files, whichever is learnt."""
        scheme = self.schemes.get(head)
        return tags if scheme is None else converted(tags, scheme)

    def folded(self, tokens: Sequence[str]) -> list[str]:
        """Tokens as the vocabulary knows them."""
        return fold(self.data, tokens)

    def encode(self, tokens: Sequence[str]) -> Tensor:
        """Ids [T], or [T, 1 + C] with the letters of each word; of sentences [T, W] or [T, W, 1 + C]."""
        if self.sentences is None:
            return self._encoded(tokens)
        rows = [self._encoded(words) for words in self.words_of(tokens)]
        return widen(rows) if rows else torch.zeros(0, 1, dtype=torch.int64)

    def words_of(self, sentences: Sequence[str]) -> list[list[str]]:
        """The words of each sentence, at least one."""
        assert self.sentences is not None
        return [SPLIT[self.sentences](sentence) or [sentence] for sentence in sentences]

    def _encoded(self, tokens: Sequence[str]) -> Tensor:
        ids = torch.from_numpy(self.words.encode(self.folded(tokens)))
        if self.letters is None:
            return ids
        spelt = [self.letters.encode(self._spelling(token)) for token in tokens]
        width = max((len(word) for word in spelt), default=1)
        rows = np.zeros((len(spelt), 1 + width), np.int64)
        rows[:, 0] = ids
        for row, word in zip(rows, spelt, strict=True):
            row[1 : 1 + len(word)] = word
        return torch.from_numpy(rows)

    def _spelling(self, token: str) -> str:
        half = self.longest // 2
        return token if len(token) <= self.longest else token[: self.longest - half] + token[len(token) - half :]

    def save(self, path: Path) -> None:
        body = {
            "format": FORMAT,
            "version": VERSION,
            "data": self.data.model_dump(mode="json", include=set(READING)),
            "words": json.loads(self.words.to_json()),
            "letters": None if self.letters is None else json.loads(self.letters.to_json()),
            "longest": self.longest,
            "sentences": self.sentences,
            "schemes": self.schemes,
            "names": {head: json.loads(names.to_json()) for head, names in self.names.items()},
        }
        atomic_write(path, json.dumps(body, ensure_ascii=False))

    @staticmethod
    def load(path: Path) -> "Codec":
        """What `save` wrote. Raises ValueError where the file is not of that form."""
        return codec_of(path, FORMAT, VERSION, _codec)


READING = ("text", "tokens", "lower", "digits", "replace", "max_length")


def replaced(data: TextData, text: str) -> str:
    """A text as it is cut."""
    for old, new in data.replace.items():
        text = text.replace(old, new)
    return text


def fold(data: TextData, tokens: Sequence[str]) -> list[str]:
    """Tokens in lower case and with digits as 0, if the data say so."""
    if data.lower:
        tokens = [token.lower() for token in tokens]
    if data.digits:
        tokens = [DIGIT.sub("0", token) for token in tokens]
    return list(tokens)


def vocabulary(data: TextData, rows: Iterable[Sequence[str]]) -> Vocabulary:
    """Of the folded tokens of the training part."""
    folded = (fold(data, row) for row in rows)
    return Vocabulary.build(folded, min_count=data.min_count, max_size=data.max_size)


def _codec(body: dict[str, Any]) -> Codec:
    names = {head: _vocabulary(names) for head, names in body["names"].items()}
    letters = None if body["letters"] is None else _vocabulary(body["letters"])
    words, longest, cut = _vocabulary(body["words"]), body["longest"], body["sentences"]
    return Codec(TextData(**body["data"]), words, letters, longest, names, cut, body["schemes"])


def _vocabulary(body: Any) -> Vocabulary:
    return Vocabulary.from_json(json.dumps(body))
