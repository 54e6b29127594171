"""A closed list of strings and their ids: words with an id for the unknown, or labels without one."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from torch import Tensor

from ostinato.registry import UnknownNameError, near

PAD = "<pad>"
UNKNOWN = "<unk>"
FORMAT = "ostinato-vocabulary"
VERSION = 1


class Vocabulary:
    """Strings to ids and back; id i is `itos[i]`, which was counted `counts[i]` times (int64 [V]).

    Build one of words with `Vocabulary.build`, of labels with `Vocabulary.labels`. A string that is not in it becomes
    `unknown`; without an unknown entry it is refused. `pad` is the id of `<pad>`, `unknown` that of `<unk>`; either may
    be None.

    Raises:
        ValueError: an entry twice, or not as many counts as entries.
    """

    def __init__(self, itos: Sequence[str], counts: Sequence[int] | np.ndarray | None = None) -> None:
        self.itos = list(itos)
        self.stoi = {token: index for index, token in enumerate(self.itos)}
        self.counts = np.zeros(len(self.itos), np.int64) if counts is None else np.asarray(counts, np.int64)
        if len(self.stoi) < len(self.itos):
            twice = next(token for token, count in Counter(self.itos).items() if count > 1)
            raise ValueError(f"{twice!r} is in the vocabulary twice; every entry must be different")
        if self.counts.shape != (len(self.itos),):
            raise ValueError(f"{len(self.itos)} counts were expected, one an entry, got {list(self.counts.shape)}")
        self.pad: int | None = self.stoi.get(PAD)
        self.unknown: int | None = self.stoi.get(UNKNOWN)

    @staticmethod
    def build(
        rows: Iterable[Iterable[str]] | Mapping[str, int],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        specials: Sequence[str] = (PAD, UNKNOWN),
    ) -> "Vocabulary":
        """Of the tokens of `rows` (or of their counts), those found `min_count` times or more, the most frequent first.

        `specials` stand before them, in their order; ties stay in order of first appearance. `max_size` counts the
        specials too. The count of `<unk>` is that of all that was left out. Raises ValueError for sizes that do not
        fit and where nothing is left.
        """
        if min_count < 1 or (max_size is not None and max_size <= len(specials)):
            raise ValueError(
                f"min_count must be 1 or more and max_size above the {len(specials)} specials, got {min_count} and "
                f"{max_size}"
            )
        counts = Counter(rows) if isinstance(rows, Mapping) else _counted(rows)
        ranked = [token for token, count in counts.most_common() if count >= min_count and token not in specials]
        if max_size is not None:
            ranked = ranked[: max_size - len(specials)]
        if not ranked:
            raise ValueError(
                f"of {len(counts)} different tokens none is found {min_count} times or more; lower min_count, or check "
                "the column they come from"
            )
        itos = [*specials, *ranked]
        kept = [counts[token] for token in itos]
        if UNKNOWN in specials:
            kept[itos.index(UNKNOWN)] += counts.total() - sum(kept)
        return Vocabulary(itos, kept)

    @staticmethod
    def labels(names: Iterable[str], *, specials: Sequence[str] = ()) -> "Vocabulary":
        """A vocabulary of labels: sorted (numbers by value), behind `specials`, and without an unknown entry."""
        counts = Counter(names)
        if not counts:
            raise ValueError("at least one label was expected, got none; check the column they come from")
        itos = [*specials, *sorted(set(counts) - set(specials), key=_label_order)]
        return Vocabulary(itos, [counts[name] for name in itos])

    def __len__(self) -> int:
        return len(self.itos)

    def __contains__(self, token: object) -> bool:
        return token in self.stoi

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.itos == other.itos and bool((self.counts == other.counts).all())

    def __hash__(self) -> int:
        return hash(tuple(self.itos))

    def __repr__(self) -> str:
        return f"Vocabulary of {len(self)}: {', '.join(self.itos[:5])}{', ...' * (len(self) > 5)}"

    def index(self, token: str) -> int:
        """The id of one string. Raises UnknownNameError (a ValueError) where it has none and there is no `<unk>`."""
        found = self.stoi.get(token, self.unknown)
        if found is None:
            raise UnknownNameError(
                f"{token!r} is none of the {len(self)} labels seen in training{_known(token, self.itos)}"
            )
        return found

    def encode(self, tokens: Sequence[str]) -> np.ndarray:
        """The ids of the strings, int64 [N]. Raises what `index` raises."""
        if self.unknown is None:
            return np.fromiter(map(self.index, tokens), np.int64, len(tokens))
        return np.fromiter(map(self.stoi.get, tokens, repeat(self.unknown)), np.int64, len(tokens))

    def decode(self, ids: Iterable[int] | np.ndarray | Tensor) -> list[str]:
        """The strings of `ids`, [N] of any integer type. Raises ValueError for ids outside and more than one row."""
        if isinstance(ids, np.ndarray | Tensor) and ids.ndim != 1:
            raise ValueError(f"ids [N] were expected, got the shape {list(ids.shape)}; decode one row at a time")
        listed: list[int] = ids.tolist() if isinstance(ids, np.ndarray | Tensor) else list(ids)
        for index in listed:
            if not 0 <= index < len(self):
                raise ValueError(f"ids must lie from 0 to {len(self) - 1}, got {index}; was another vocabulary used?")
        return [self.itos[index] for index in listed]

    def to_json(self) -> str:
        """All of it as JSON text, from which `from_json` makes an equal one."""
        body = {"format": FORMAT, "version": VERSION, "itos": self.itos, "counts": self.counts.tolist()}
        return json.dumps(body, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> "Vocabulary":
        """The vocabulary that `to_json` wrote. Raises ValueError where the text is not of that form."""
        try:
            body = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"a vocabulary's JSON was expected, but this is none ({error}); save it again") from error
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise ValueError(f"a vocabulary's JSON was expected, with format {FORMAT!r}; this is something else")
        if body.get("version") != VERSION:
            raise ValueError(
                f"version {VERSION} is read here, this vocabulary's is {body.get('version')}; update ostinato"
            )
        itos: Any = body.get("itos")
        counts: Any = body.get("counts")
        if not _all(itos, str) or not _all(counts, int):
            raise ValueError("a vocabulary needs itos, a list of strings, and counts, integers; save it again")
        return Vocabulary(itos, counts)


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


def _counted(rows: Iterable[Iterable[str]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        if isinstance(row, str):
            raise ValueError(f"rows of tokens were expected, got the text {row[:40]!r}; split it into tokens first")
        counts.update(row)
    return counts


def _label_order(name: str) -> tuple[bool, int, str]:
    number = name.isascii() and name.isdigit()
    return (not number, int(name) if number else 0, name)


def _known(token: str, itos: list[str]) -> str:
    hint = near(token, itos)
    # Label lists may be long, and a list of hundreds helps nobody.
    return hint if len(itos) <= 30 or hint.startswith("; did") else f"; there are: {', '.join(sorted(itos)[:30])}, ..."
