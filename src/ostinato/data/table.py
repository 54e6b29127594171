"""Rows of text in named columns, each with its place; what is wrong with a row is told with file and line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ostinato.registry import UnknownNameError, near

Field = str | list[str]
"""What a column holds in one row: text, or one string a token."""


class Place(NamedTuple):
    """Where a row stands: `str(place)` is 'FILE, line N', N counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


class Row(NamedTuple):
    """One row: its place and its fields by column."""

    place: Place
    fields: dict[str, Field]


class BadRow(ValueError):
    """A row that cannot be used. `path` and `line` say where, `reason` why and what to do; `str` says it all."""

    def __init__(self, path: str, line: int, reason: str) -> None:
        super().__init__(path, line, reason)
        self.path = path
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return f"{Place(self.path, self.line)}: {self.reason}"


@dataclass(frozen=True)
class Table:
    """Columns of equal length: `columns["text"][i]` is the text of row i, which stands at `places[i]`.

    A column holds str, or list[str] where a row is a list of tokens. `skipped` are the rows left out, with reasons.
    `cut`: we held these rows out of others; otherwise they were given as a part, as of a published set, and are all it.
    """

    columns: dict[str, list[Field]]
    places: list[Place]
    skipped: tuple[BadRow, ...] = ()
    cut: bool = False

    def __len__(self) -> int:
        return len(self.places)

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if len(column) != len(self.places):
                raise ValueError(f"column {name!r} has {len(column)} entries, but there are {len(self.places)} places")

    def column(self, name: str) -> list[Field]:
        """The entries of a column. Raises UnknownNameError (a ValueError) with the near names."""
        if name not in self.columns:
            raise UnknownNameError(f"no column is called {name!r}{near(name, self.columns)}")
        return self.columns[name]

    def texts(self, name: str) -> list[str]:
        """A column of str. Raises UnknownNameError for an unknown name, ValueError for a column of token lists."""
        return [_text(field, name, place) for field, place in zip(self.column(name), self.places, strict=True)]

    def tokens(self, name: str) -> list[list[str]]:
        """A column of token lists. Raises UnknownNameError for an unknown name, ValueError for a column of str."""
        return [_tokens(field, name, place) for field, place in zip(self.column(name), self.places, strict=True)]

    def rows(self, indices: Sequence[int] | Tensor) -> "Table":
        """The rows at `indices` ([N] of any integer type), in that order; without `skipped`."""
        chosen = indices.tolist() if isinstance(indices, Tensor) else list(indices)
        columns = {name: [column[index] for index in chosen] for name, column in self.columns.items()}
        return Table(columns, [self.places[index] for index in chosen], cut=self.cut)

    @staticmethod
    def join(tables: Iterable["Table"]) -> "Table":
        """One table of the rows of all. Raises ValueError for none and where their columns differ."""
        parts = list(tables)
        if not parts:
            raise ValueError("at least one table was expected, got none")
        names = list(parts[0].columns)
        for part in parts[1:]:
            if set(part.columns) != set(names):
                raise ValueError(
                    f"the columns {', '.join(names)} were expected, got {', '.join(part.columns)}; choose the same ones"
                )
        columns = {name: [field for part in parts for field in part.columns[name]] for name in names}
        places = [place for part in parts for place in part.places]
        return Table(columns, places, tuple(bad for part in parts for bad in part.skipped))


def _text(field: Field, name: str, place: Place) -> str:
    if not isinstance(field, str):
        raise ValueError(f"{place}: column {name!r} holds a list of tokens, text was expected; choose another column")
    return field


def _tokens(field: Field, name: str, place: Place) -> list[str]:
    if isinstance(field, str):
        raise ValueError(f"{place}: column {name!r} holds text, a list of tokens was expected; name it in `tokens`")
    return field
