"""One row a line: the line itself, or a label, a space and a text."""

from ostinato.data.lines import Source, filled_lines, source_name
from ostinato.data.reading import Items, Options, by_position, one_column
from ostinato.data.table import BadRow, Place, Row

FASTTEXT = "__label__"


def read_plain(source: Source, options: Options) -> Items:
    """Each line is a row of one column, `text` where `columns` does not name another."""
    path = source_name(source)
    name = one_column(options.columns, "text", path)
    for number, text in filled_lines(source):
        yield text if isinstance(text, BadRow) else Row(Place(path, number), {name: text})


def read_labelled(source: Source, options: Options) -> Items:
    """Lines of a label, a space and a text (`0 What is an atom ?`); fastText's `__label__` is taken off the label."""
    path = source_name(source)
    at = by_position(options.columns, 2, path, {"label": 0, "text": 1})
    for number, line in filled_lines(source):
        if isinstance(line, BadRow):
            yield line
            continue
        parts = (line.split(maxsplit=1) if "\t" in line else line.split(" ", 1)) or [line]
        if len(parts) < 2 or not parts[0] or parts[1].isspace() or not parts[1]:
            shown = f"got only {line[:40]!r}"
            yield BadRow(path, number, f"a label, a space and a text were expected, {shown}; add what lacks")
            continue
        parts[0] = parts[0].removeprefix(FASTTEXT)
        yield Row(Place(path, number), {name: parts[index] for name, index in at.items()})
