"""What a labelling task reads: rows of numbers, their targets, and how they became numbers."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

import torch
from torch import Tensor

from ...data import tags as schemes
from ...data.table import Table
from ...data.tokens import SPLIT
from ...data.vocabulary import Vocabulary
from ...train.recipe import RecipeError
from ..table import GIVEN, PARTS, read_tables, skipped
from .codec import Codec, vocabulary
from .recipe import Head, LabellingRecipe
from .sound import scheme_of, seen, sound

MANY_UNKNOWN = 0.1  # share of a part's tokens


@dataclass(frozen=True)
class Part:
    """One split."""

    table: Table
    tokens: list[list[str]]  # as they stand in the file
    rows: list[Tensor]  # [T] or [T, 1 + C] int64
    targets: dict[str, list[Tensor]]  # of each head: class [], labels [C], tags [T]
    gold: dict[str, list[list[str]]]  # what is right, by name: one class, labels, one tag a token

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sizes(self) -> list[int]:
        return [len(row) for row in self.rows]


@dataclass(frozen=True)
class Examples:
    """All splits, the codec, and the scheme of each head's tags (None: no chunks)."""

    codec: Codec
    parts: dict[str, Part]
    schemes: dict[str, str | None]

    @classmethod
    def read(cls, recipe: LabellingRecipe, codec: Codec | None = None, whole: bool = False) -> "Examples":
        """Reads the recipe's rows; numbers as `codec` says, or made from the training part.

        With `whole` nothing is cut: of a file alone all is "test" (and "train").

        Raises:
            RecipeError, ValueError, OSError: what cannot be read or does not fit, with file and line.
        """
        if recipe.tagging and recipe.data.tokens != GIVEN:
            raise RecipeError("tags stand beside tokens, so the text column must hold tokens: set data.tokens = given")
        columns = token_columns(recipe)
        what = "tokens and their tags" if recipe.tagging else "a text and its labels"
        tables = read_tables(recipe, what, columns, whole)
        heads = recipe.heads.items()
        found = {name: scheme_of(tables["train"], name, head) for name, head in heads if head.tagging}
        found = found if codec is None else codec.schemes
        tables = {part: sound(table, recipe, found) for part, table in tables.items()}
        draft = codec or Codec(recipe.data, Vocabulary([]), None, recipe.model.characters.longest, {})
        texts = {part: _tokens(table, draft) for part, table in tables.items()}
        gold = {part: _gold(table, recipe, found) for part, table in tables.items()}
        if codec is None:
            codec = _codec(recipe, texts["train"], gold["train"], found)
        tables, kept = seen(tables, gold, codec, recipe)
        parts = {}
        for part, table in tables.items():
            rows = kept[part]
            answers = {name: [column[i] for i in rows] for name, column in gold[part].items()}
            parts[part] = _part(table, [texts[part][i] for i in rows], answers, codec, recipe)
        return cls(codec, parts, found)

    def save(self, path: Path) -> None:
        self.codec.save(path)

    def facts(self) -> dict[str, Any]:
        sizes = {part: sum(content.sizes) for part, content in self.parts.items()}
        rows = {part: len(content) for part, content in self.parts.items()}
        return {"vocabulary": len(self.codec.words), "tokens": sizes, "rows": rows}

    def fingerprint(self) -> str:
        hashed = hashlib.sha256()
        for part in self.parts.values():
            for row in part.rows:
                hashed.update(row.numpy().tobytes())
            for column in part.targets.values():
                hashed.update(torch.cat([target.flatten() for target in column]).numpy().tobytes())
        return hashed.hexdigest()

    def doubts(self, splits: Collection[str] = PARTS) -> Iterator[str]:
        for name, part in self.parts.items():
            if name in splits:
                yield from skipped(name, part.table.skipped)
        unknown, total = unknown_words(self.parts["test"], self.codec)
        if total and unknown / total > MANY_UNKNOWN:
            yield f"{unknown / total:.0%} of the test part's tokens are no word of the training part"
        yield from self._strangers([part for part in splits if part != "train"])

    def _strangers(self, splits: list[str]) -> Iterator[str]:
        for name, names in self.codec.names.items():
            for part in splits:
                found = Counter(answer for row in self.parts[part].gold[name] for answer in row if answer not in names)
                if found:
                    shown = ", ".join(sorted(found)[:5]) + ", ..." * (len(found) > 5)
                    count = found.total()
                    what, verb = ("answer", "counts") if count == 1 else ("answers", "count")
                    where = f"{what} of {name} in the {part} part"
                    yield f"{count:,} {where} that training never saw {verb} as missed ({shown})"


def token_columns(recipe: LabellingRecipe) -> tuple[str, ...]:
    """The columns that hold one string a token."""
    if recipe.data.tokens != GIVEN:
        return ()
    return (recipe.data.text, *(head.column or name for name, head in recipe.heads.items() if head.tagging))


def unknown_words(part: Part, codec: Codec) -> tuple[int, int]:
    """How many words of a part are unknown, and how many there are."""
    ids = torch.cat([(row if codec.letters is None else row[..., 0]).flatten() for row in part.rows])
    return int((ids == codec.words.unknown).sum()), int((ids != 0).sum())


def _tokens(table: Table, codec: Codec) -> list[list[str]]:
    # Each word is kept once, not once for each of its places.
    return [list(map(intern, codec.shortened(codec.tokens(field)))) for field in table.column(codec.data.text)]


def _gold(table: Table, recipe: LabellingRecipe, found: dict[str, str | None]) -> dict[str, list[list[str]]]:
    """What is right, of each head and row, in the names that are learnt."""
    gold = {}
    for name, head in recipe.heads.items():
        column = table.column(head.column or name)
        if head.kind == "class":
            # A blank beside a comma is no part of a class.
            gold[name] = [[field.strip() if isinstance(field, str) else " ".join(field)] for field in column]
        elif head.kind == "labels":
            gold[name] = [_labels(field, head.separator) for field in column]
        else:
            rows = table.tokens(head.column or name)
            gold[name] = _rewritten(rows, head, found[name])
    return gold


def _rewritten(rows: list[list[str]], head: Head, scheme: str | None) -> list[list[str]]:
    """Tags in the scheme that is learnt; broken ones that may be read are mended by it."""
    if scheme is None or (head.learnt == "same" and head.broken == "refuse"):
        return rows
    to = scheme if head.learnt == "same" else head.learnt
    return [schemes.converted(row, to) for row in rows]


def _labels(field: Any, separator: str) -> list[str]:
    parts = field.split(separator) if isinstance(field, str) else field
    return [part.strip() for part in parts if part.strip()]


def _codec(
    recipe: LabellingRecipe, texts: list[list[str]], gold: dict[str, list[list[str]]], found: dict[str, str | None]
) -> Codec:
    letters = None
    if recipe.model.characters.kind != "none":
        letters = Vocabulary.build(list(token) for row in texts for token in row)
    cut = recipe.model.sentences
    if cut is not None:
        texts = [[word for sentence in row for word in SPLIT[cut.tokens](sentence)] for row in texts]
    names = {name: Vocabulary.labels(answer for row in rows for answer in row) for name, rows in gold.items()}
    for name, known in names.items():
        # One label is a question by itself where some rows have none.
        if len(known) < 2 and not (len(known) == 1 and any(not row for row in gold[name])):
            column = recipe.heads[name].column or name
            raise RecipeError(
                f"column {column!r} holds nothing but {known.itos[0]!r} in the training part, so there is nothing to "
                "tell apart; give rows with other answers"
            )
    words, longest = vocabulary(recipe.data, texts), recipe.model.characters.longest
    by = None if cut is None else cut.tokens
    return Codec(recipe.data, words, letters, longest, names, by, found)


def _part(
    table: Table, texts: list[list[str]], gold: dict[str, list[list[str]]], codec: Codec, recipe: LabellingRecipe
) -> Part:
    targets = {}
    for name, rows in gold.items():
        names, head = codec.names[name], recipe.heads[name]
        targets[name] = [_target(row, names, head) for row in rows]
    return Part(table, texts, [codec.encode(tokens) for tokens in texts], targets, gold)


def _target(answers: list[str], names: Vocabulary, head: Head) -> Tensor:
    """As numbers. What training never saw has none: 0 stands for it, for the scores go by `gold`."""
    ids = [names.stoi.get(answer, 0) for answer in answers]
    if head.kind != "labels":
        return torch.tensor(ids[0] if head.kind == "class" else ids, dtype=torch.int64)
    row = torch.zeros(len(names), dtype=torch.int64)
    row[ids] = 1
    return row
