"""What all readers share: the options of a format and how columns are chosen."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ostinato.data.table import BadRow, Field, Row
from ostinato.registry import UnknownNameError, near

Columns = Sequence[str] | Mapping[str, str | int] | None
Items = Iterator[Row | BadRow]
OMITTED = "_"


class Options(NamedTuple):
    """How to read: see `iterate`."""

    columns: Columns = None
    header: bool | None = None


def by_name(columns: Columns, names: Sequence[str], where: str) -> dict[str, int]:
    """Our name of each wanted column -> where it stands among a file's `names`.

    Raises UnknownNameError, with the near names, for a column that the file does not have.
    """
    if columns is None:
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"{where}: column {twice[0]!r} stands there twice; choose by `columns`, or rename one")
        return {name: index for index, name in enumerate(names)}
    wanted = columns if isinstance(columns, Mapping) else {name: name for name in columns}
    found = {}
    for ours, theirs in wanted.items():
        if isinstance(theirs, int):
            found.update({ours: in_range(theirs, len(names), ours, where)})
        elif theirs in names:
            found[ours] = names.index(theirs)
        else:
            raise UnknownNameError(f"{where}: no column is called {theirs!r}{near(theirs, names)}")
    return found


def by_position(columns: Columns, width: int, where: str, default: Mapping[str, int]) -> dict[str, int]:
    """Our name of each wanted column -> its position among `width`, where a file does not name its columns.

    A sequence names all positions in turn, `_` those to leave out; a mapping gives positions, -1 the last.
    """
    if columns is None:
        columns = default
    if isinstance(columns, Mapping):
        return {ours: in_range(at, width, ours, where) for ours, at in columns.items()}
    if len(columns) != width:
        raise ValueError(
            f"{where}: {width} columns are there, but {len(columns)} names were given ({', '.join(columns)}); "
            f"name each, {OMITTED} for one to leave out"
        )
    return {name: index for index, name in enumerate(columns) if name != OMITTED}


def in_range(position: str | int, width: int, name: str, where: str) -> int:
    """A position from 0 to width - 1; negative ones count from the end."""
    if not isinstance(position, int):
        raise ValueError(
            f"{where}: the columns of this file have no names, so the position of {name!r} must be a number, "
            f"got {position!r}; count from 0, -1 is the last"
        )
    if not -width <= position < width:
        raise ValueError(f"{where}: column {name!r} is to stand at {position}, but there are {width} columns")
    return position % width


def one_column(columns: Columns, default: str, where: str) -> str:
    """The one name where a format has one column."""
    names = [default] if columns is None else list(columns)
    if len(names) != 1:
        raise ValueError(f"{where}: one column is there, but {len(names)} were asked for ({', '.join(names)})")
    return names[0]


def empty_column(fields: Mapping[str, Field]) -> str | None:
    """The first column whose text is nothing or white space; a list may be empty (no label of several)."""
    texts = ((name, field) for name, field in fields.items() if isinstance(field, str))
    return next((name for name, text in texts if not text or text.isspace()), None)


def split_spaces(text: str) -> list[str]:
    """The pieces between ASCII spaces; other white space, such as an ideographic space, may be a token."""
    pieces = text.strip(" ").split(" ")
    return [piece for piece in pieces if piece] if "" in pieces else pieces
