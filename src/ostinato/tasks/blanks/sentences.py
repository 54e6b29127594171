"""What filling in blanks reads: sentences as numbers, and the seeded places of the blanks that are scored."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.files import read_splits, read_text, text_files
from ...data.tokens import SPLIT
from ...data.vocabulary import PAD, UNKNOWN, Vocabulary
from ...storage import atomic_write
from ...train.recipe import RecipeError
from ..table import PARTS
from ..trained import codec_of
from .recipe import BlanksRecipe, Data

FORMAT, VERSION = "ostinato blanks", 1
BLANK = "<blank>"
SPECIALS = (PAD, UNKNOWN, BLANK)
GAP = re.compile(r"_{3,}")  # how a person writes a blank


@dataclass(frozen=True)
class Codec:
    """How a sentence becomes ids."""

    tokens: str  # the way it is cut
    lower: bool
    words: Vocabulary

    @property
    def blank(self) -> int:
        return self.words.stoi[BLANK]

    def cut(self, text: str) -> list[str]:
        """The tokens of a text without blanks."""
        return SPLIT[self.tokens](text.lower() if self.lower else text)

    def encode(self, text: str) -> Tensor:
        """Ids [T] of a text in which ___ is a blank."""
        parts = [self.words.encode(self.cut(part)).tolist() for part in GAP.split(text)]
        ids = parts[0]
        for part in parts[1:]:
            ids = [*ids, self.blank, *part]
        return torch.tensor(ids, dtype=torch.int64)

    def save(self, path: Path) -> None:
        body = {"format": FORMAT, "version": VERSION, "tokens": self.tokens, "lower": self.lower,
                "words": json.loads(self.words.to_json())}  # fmt: skip
        atomic_write(path, json.dumps(body, ensure_ascii=False))

    @staticmethod
    def load(path: Path) -> "Codec":
        """What `save` wrote. Raises ValueError where the file is not of that form."""
        return codec_of(path, FORMAT, VERSION, _codec)


@dataclass(frozen=True)
class Sentences:
    """The sentences of each part, ids [T], and the (sentence, place) of each scored blank of all but train."""

    codec: Codec
    parts: dict[str, list[Tensor]]
    blanks: dict[str, list[tuple[int, int]]]

    @classmethod
    def read(cls, recipe: BlanksRecipe, codec: Codec | None = None, whole: bool = False) -> "Sentences":
        """Reads the recipe's text; the vocabulary is `codec`'s, or made from the training part.

        With `whole`, which goes with a codec, a text in one file is not cut: all of it is "test".

        Raises:
            RecipeError: no data.path, or a part without a word to hide. ValueError, OSError: as `read_splits`.
        """
        data = recipe.data
        if data.path is None:
            raise RecipeError(
                f"recipe {recipe.name or recipe.task} needs a text ({recipe.about.needs or 'a sentence a line'}): "
                "add -o data.path=FILE_OR_FOLDER"
            )
        texts = {part: _lines(text, data) for part, text in _parts(Path(data.path), data.fractions, whole).items()}
        if codec is None:
            words = Vocabulary.build(
                texts["train"], min_count=data.min_count, max_size=data.max_size, specials=SPECIALS
            )
            codec = Codec(data.tokens, data.lower, words)
        parts = {}
        for part, lines in texts.items():
            rows = (torch.from_numpy(codec.words.encode(line)) for line in lines)
            parts[part] = [row for row in rows if len(row) > 1 and bool(known(row).any())]
            if not parts[part]:
                raise RecipeError(
                    f"the {part} part of {data.path} has no line of two words with a known one; lower data.min_count, "
                    "or check data.tokens"
                )
        scored = (part for part in parts if part != "train")
        return cls(codec, parts, {part: _hidden(parts[part], data.places, recipe.seed) for part in scored})

    def save(self, path: Path) -> None:
        self.codec.save(path)

    def fingerprint(self) -> str:
        return hashlib.sha256(
            b"".join(row.numpy().tobytes() for rows in self.parts.values() for row in rows)
        ).hexdigest()

    def facts(self) -> dict[str, Any]:
        return {
            "vocabulary": len(self.codec.words),
            "tokens": {p: sum(map(len, rows)) for p, rows in self.parts.items()},
        }

    def doubts(self, splits: Collection[str] = PARTS) -> Iterator[str]:
        yield from ()


def _codec(body: dict[str, Any]) -> Codec:
    return Codec(body["tokens"], body["lower"], Vocabulary.from_json(json.dumps(body["words"])))


def known(ids: Tensor) -> Tensor:
    """Which ids are words that may be hidden: unknown ones could not be named."""
    return ids >= len(SPECIALS)


def _parts(path: Path, fractions: tuple[float, float, float], whole: bool) -> dict[str, str]:
    files = text_files(path) if path.is_dir() else [path]
    return {"test": read_text(files[0])} if whole and len(files) == 1 else read_splits(path, fractions)._asdict()


def _lines(text: str, data: Data) -> list[list[str]]:
    cut = SPLIT[data.tokens]
    lines = ((line.lower() if data.lower else line).strip() for line in text.splitlines())
    return [[t for t in cut(line) if t not in (PAD, BLANK)][: data.max_length] for line in lines if line]


def _hidden(rows: list[Tensor], places: int, seed: int) -> list[tuple[int, int]]:
    """`places` different words of each sentence, or all where it has fewer."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number, row in enumerate(rows):
        may = known(row).nonzero().flatten()
        chosen = may[torch.randperm(len(may), generator=generator)[:places]]
        found += [(number, place) for place in sorted(chosen.tolist())]
    return found
