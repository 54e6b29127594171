"""Tables with a delimiter: CSV, where fields may be quoted (RFC 4180), also with semicolons, and TSV, where a quote is
a character.
"""

import csv
from collections import deque
from collections.abc import Iterator, Mapping

from ostinato.data.lines import Line, Source, filled_lines, read_lines, source_name
from ostinato.data.reading import Columns, Items, Options, by_name, by_position, empty_column
from ostinato.data.table import BadRow, Field, Place, Row

Fields = Iterator[tuple[int, list[str] | BadRow]]
DELIMITED = {"\t": "tsv", ";": "semicolon-csv", ",": "csv"}
"""Delimiter -> the format to name for it."""


def read_csv(source: Source, options: Options) -> Items:
    """Comma-separated rows; a quoted field may hold commas, line ends and doubled quotes. The place is the first line.

    The csv module's limit holds: a field of more than 131,072 characters is a bad row. So is a line whose quote nobody
    closes; what follows it is read as if it were not there.
    """
    return _rows(_quoted(source, ","), source, options, ",")


def read_semicolon_csv(source: Source, options: Options) -> Items:
    """As `read_csv`, with semicolons: what spreadsheets write where the comma is the decimal point."""
    return _rows(_quoted(source, ";"), source, options, ";")


def read_quoted_tsv(source: Source, options: Options) -> Items:
    """As `read_csv`, with tabs."""
    return _rows(_quoted(source, "\t"), source, options, "\t")


def read_tsv(source: Source, options: Options) -> Items:
    """Tab-separated rows of one line each; quotes and backslashes are literal."""
    lines = filled_lines(source)
    split = ((number, line if isinstance(line, BadRow) else line.split("\t")) for number, line in lines)
    return _rows(split, source, options, "\t")


def _rows(records: Fields, source: Source, options: Options, delimiter: str) -> Items:
    path, at, width, named = source_name(source), None, 0, options.columns is not None
    for number, fields in records:
        if isinstance(fields, BadRow):
            yield fields
        elif at is None and options.header is not False:
            _check_delimiter(fields, options.columns, delimiter, f"{path}, line {number}: the header")
            at, width = by_name(options.columns, fields, f"{path}, line {number}"), len(fields)
        else:
            if at is None:
                if named and len(options.columns or ()) > 1:
                    _check_delimiter(fields, None, delimiter, f"{path}, line {number}: the row")
                width = len(fields)
                default = {f"column{index}": index for index in range(width)}
                at = by_position(options.columns, width, f"{path}, line {number}", default)
            yield _row(fields, width, at, Place(path, number), named)


def _check_delimiter(fields: list[str], columns: Columns, delimiter: str, what: str) -> None:
    """Raises ValueError where a first row is one column because the file has another delimiter than its format."""
    wanted = columns.values() if isinstance(columns, Mapping) else columns or ()
    if len(fields) > 1 or fields[0] in wanted:
        return
    for other, format in DELIMITED.items():
        if other != delimiter and other in fields[0]:
            raise ValueError(
                f"{what} has one column, {fields[0][:60]!r}: it looks separated by {other!r}, not by {delimiter!r}; "
                f"say the format {format} (data.format, or --format of predict), or separate it by {delimiter!r}"
            )


def _row(fields: list[str], width: int, at: dict[str, int], place: Place, named: bool) -> Row | BadRow:
    if len(fields) != width:
        hint = "a delimiter within a field must be quoted (in CSV), or" if len(fields) > width else "fill it or"
        return BadRow(*place, f"{width} fields were expected, got {len(fields)}; {hint} drop the row")
    row: dict[str, Field] = {name: fields[index] for name, index in at.items()}
    # A column that nobody asked for may be empty; a row may not.
    empty = empty_column(row)
    if empty is not None and (named or not any(field.strip() for field in fields)):
        return BadRow(*place, f"column {empty!r} is empty; fill it or drop the row")
    return Row(place, row)


def _quoted(source: Source, delimiter: str) -> Fields:
    feed = _Feed(source)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    path = source_name(source)
    while True:
        feed.first = 0
        try:
            fields = next(reader, None)
        except csv.Error as error:
            spread = f" (its end was looked for up to line {feed.last})" if feed.last > feed.first else ""
            fields = BadRow(path, feed.first, f"the row is no CSV: {_told(error, spread)}")
            feed.take_back()
        for wrong in feed.wrong:
            yield wrong.line, wrong
        feed.wrong.clear()
        if fields is None:
            return
        yield feed.first, fields


def _told(error: csv.Error, spread: str) -> str:
    """What the csv module found wrong, and what to do."""
    if "new-line character" in str(error):
        return f"a carriage return (CR) stands in a field without quotes{spread}; quote the field or remove it"
    return f"{error}{spread}; close or double its quotes"


class _Feed:
    """Lines for the csv module, which counts them from its own start; keeps where the row began and the bad lines."""

    def __init__(self, source: Source) -> None:
        self.lines = read_lines(source)
        self.first = self.last = 0
        self.row: list[Line] = []  # its lines but the first
        self.again = deque[Line]()  # lines that come a second time
        self.blank: list[BadRow] = []
        self.wrong: list[BadRow] = []
        self.path = source_name(source)

    def __iter__(self) -> "_Feed":
        return self

    def take_back(self) -> None:
        """The row has no end: it is its first line alone, and the others come again."""
        self.again.extendleft(reversed(self.row))
        self.row.clear()

    def __next__(self) -> str:
        while line := self.again.popleft() if self.again else next(self.lines, None):
            number, text = line
            if isinstance(text, BadRow):
                self.wrong.append(text)
            elif not self.first and not text.strip():
                self.blank.append(BadRow(self.path, number, "the row is empty; fill it or drop it"))
            else:
                self.wrong.extend(self.blank)
                self.blank.clear()
                if self.first:
                    self.row.append(line)
                else:
                    self.row.clear()
                self.first, self.last = self.first or number, number
                return text + "\n"
        raise StopIteration
