"""Tables that fill up while they are measured, and the same as Markdown."""

from collections.abc import Iterable, Mapping

Row = Mapping[str, str]


def show(rows: Iterable[Row]) -> list[Row]:
    """Prints each row as soon as it is measured; gives them all."""
    seen: list[Row] = []
    widths: dict[str, int] = {}
    for row in rows:
        if not seen:
            widths = {name: max(len(name), len(value) + 1, 9) for name, value in row.items()}
            print("  ".join(name.rjust(widths[name]) for name in row), flush=True)
        print("  ".join(value.rjust(widths.get(name, 9)) for name, value in row.items()), flush=True)
        seen.append(row)
    return seen


def markdown(rows: Iterable[Row]) -> str:
    """A table with the columns of all rows; a row that lacks one has - there."""
    rows = list(rows)
    if not rows:
        return "(no rows)"
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(row.get(name, "-") for name in names) + " |" for row in rows]
    return "\n".join(lines)
