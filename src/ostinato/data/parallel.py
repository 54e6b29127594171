"""Parallel files: line n of each file is row n, a file is a column."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from ostinato.data.files import open_bytes, text_files
from ostinato.data.lines import Line, read_lines
from ostinato.data.reading import Columns, Items
from ostinato.data.table import BadRow, Place, Row
from ostinato.registry import UnknownNameError, near


def read_parallel(files: Mapping[str, str | Path]) -> Items:
    """Rows of one column a file (column -> path). The place is that of the first file.

    Where a file ends before another, the row after its end is a BadRow that tells all counts, and the last.
    """
    paths = [str(path) for path in files.values()]
    if len(paths) < 2:
        raise ValueError(f"two parallel files or more were expected, got {len(paths)}; name a file for each column")
    last: tuple[Line, ...] | None = None
    for number, lines in enumerate(zip_longest(*map(read_lines, paths)), start=1):
        if None in lines:
            yield _unequal(paths, number, [line is None for line in lines])
            return
        last = lines
        yield _row(files, paths, last, number)


def parallel_files(folder: Path, columns: Columns, files: list[Path] | None = None) -> dict[str, Path]:
    """Column -> file for the files of a folder (or for `files` of it).

    `columns` says column -> file name (seq.in) or its ending (de for train.de.gz), or names the endings alone. Without
    it the last part of each name is its column. Raises UnknownNameError for a name that no file has, ValueError where
    two have it.
    """
    names = {file.name.removesuffix(".gz"): file for file in files or text_files(folder)}
    endings = [name.rpartition(".")[2] for name in names]
    wanted = {ending: ending for ending in endings} if columns is None else _pairs(columns)
    found = {}
    for column, word in wanted.items():
        fitting = [file for name, file in names.items() if name == word.removesuffix(".gz")]
        fitting = fitting or [file for name, file in names.items() if name.endswith(f".{word}")]
        if len(fitting) > 1:
            told = " and ".join(file.name for file in fitting)
            raise ValueError(f"{folder}: {told} all end in {word!r}; name the file of column {column!r}")
        if not fitting:
            raise UnknownNameError(f"{folder}: no file of column {column!r} is called {word!r}{near(word, names)}")
        found[column] = fitting[0]
    return found


def _pairs(columns: Sequence[str] | Mapping[str, str | int]) -> dict[str, str]:
    if isinstance(columns, Mapping):
        return {column: str(word) for column, word in columns.items()}
    return {column: column for column in columns}


def _row(files: Mapping[str, str | Path], paths: list[str], lines: tuple[Line, ...], number: int) -> Row | BadRow:
    fields: dict[str, str] = {}
    for name, path, (_, text) in zip(files, paths, lines, strict=True):
        if isinstance(text, BadRow):
            return text
        if not text or text.isspace():
            return BadRow(path, number, "the row is empty; fill it, or drop this line from all the parallel files")
        fields[name] = text
    return Row(Place(paths[0], number), dict(fields))


def _unequal(paths: list[str], number: int, ended: list[bool]) -> BadRow:
    counts = [_count(path) for path in paths]
    told = " and ".join(f"{path} {count:,}" for path, count in zip(paths, counts, strict=True))
    return BadRow(
        paths[ended.index(True)],
        number,
        f"the parallel files must have as many lines, but they have: {told}; what follows is not read, mend them",
    )


def _count(path: str) -> int:
    # Bad lines count as lines, so that both counts are what `wc -l` says.
    with open_bytes(path):
        return sum(1 for _ in read_lines(path))
