"""What translation reads: pairs of sentences, as text and as numbers."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ...data.table import BadRow
from ...train.recipe import RecipeError
from ..table import PARTS, read_tables, skipped
from .codec import Codec
from .recipe import TranslationRecipe

MANY_UNKNOWN = 0.1  # share of a part's source tokens
MANY_SEEN = 0.05  # share of the test part's sources


@dataclass(frozen=True)
class Part:
    """One split."""

    sources: list[str]  # as they stand in the file
    references: list[str]
    source: list[Tensor]  # [S] int64, the boundary last
    target: list[Tensor]  # [T] int64, between two boundaries
    skipped: tuple[BadRow, ...] = ()  # rows that could not be used

    def __len__(self) -> int:
        return len(self.source)

    @property
    def sizes(self) -> list[int]:
        """The longer side of each pair, in tokens."""
        return [max(len(s), len(t) - 1) for s, t in zip(self.source, self.target, strict=True)]

    @property
    def scored(self) -> int:
        """Target tokens that are predicted, the boundary at the end among them."""
        return sum(len(t) - 1 for t in self.target)


@dataclass(frozen=True)
class Pairs:
    """All splits and the codec. `said` is what each model in the table wrote for the test part."""

    codec: Codec
    parts: dict[str, Part]
    long: int  # pairs of the training part that are too long to be learnt from
    said: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, recipe: TranslationRecipe, codec: Codec | None = None, whole: bool = False) -> "Pairs":
        """Reads the recipe's pairs; numbers as `codec` says, or made from the training part.

        With `whole` nothing is cut: where there is no test part, all pairs are it.

        Raises:
            RecipeError, ValueError, OSError: what cannot be read or does not fit, with file and line.
        """
        tables = read_tables(recipe, "pairs of sentences", whole=whole)
        data = recipe.data
        texts = {part: (table.texts(data.source), table.texts(data.target)) for part, table in tables.items()}
        if codec is None:
            codec = Codec.train(data, *texts["train"])
        parts = {part: _part(codec, *pair, tables[part].skipped) for part, pair in texts.items()}
        train, most = parts["train"], data.max_length
        kept = [i for i in range(len(train)) if max(len(train.source[i]) - 1, len(train.target[i]) - 2) <= most]
        if not kept:
            raise RecipeError(
                f"every pair of the training part is longer than data.max_length = {most} tokens; raise it"
            )
        columns = (train.sources, train.references, train.source, train.target)
        parts["train"] = Part(*([column[i] for i in kept] for column in columns), train.skipped)  # type: ignore[arg-type]
        return cls(codec, parts, len(train) - len(kept))

    def save(self, path: Path) -> None:
        self.codec.save(path)

    def facts(self) -> dict[str, Any]:
        return {
            "vocabulary": self.codec.targets,
            "tokens": {name: part.scored for name, part in self.parts.items()},
            "rows": {name: len(part) for name, part in self.parts.items()},
        }

    def fingerprint(self) -> str:
        """SHA-256 of all ids, in hex."""
        hashed = hashlib.sha256()
        for part in self.parts.values():
            for row in (*part.source, *part.target):
                hashed.update(len(row).to_bytes(8, "little"))
                hashed.update(row.numpy().tobytes())
        return hashed.hexdigest()

    def doubts(self, splits: Collection[str] = PARTS) -> Iterator[str]:
        for name, part in self.parts.items():
            if name in splits:
                yield from skipped(name, part.skipped)
        if self.long and "train" in splits:
            yield f"{self.long:,} pairs of the training part were too long to be learnt from (data.max_length)"
        test, unknown = self.parts["test"], self.codec.source.unknown
        strange = sum(int((row == unknown).sum()) for row in test.source) if unknown is not None else 0
        if strange > MANY_UNKNOWN * sum(map(len, test.source)):
            yield f"{strange / sum(map(len, test.source)):.0%} of the test part's source tokens are unknown"
        if "train" not in splits:
            return
        known = set(self.parts["train"].sources)
        seen = sum(text in known for text in test.sources) / len(test)
        if seen > MANY_SEEN:
            yield f"{seen:.0%} of the test part's source sentences stand in the training part too"


def _part(codec: Codec, sources: list[str], references: list[str], skipped: tuple[BadRow, ...]) -> Part:
    return Part(sources, references, codec.read(sources), codec.wanted(references), skipped)
