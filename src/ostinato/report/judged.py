"""The report's sections on answers that are right or wrong: confusions, each label, calibration, lengths, padding."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..storage import atomic_write
from .canvas import BLUE, GREY, ORANGE, adapted, save
from .heat import Cell, heat, wide
from .page import Column, more, picture, table
from .quality import calibration_curve, length_table, quality_by_length
from .raster import png
from .series import is_number
from .wording import digits, filename, words

_MOST_DRAWN = 25  # classes of a matrix that is drawn
_MOST_PAIRS = 20
_MOST_LABELS = 30  # rows of a table that stand open


def confusion(results: Mapping[str, Any], figures: Path) -> str:
    """For each head its confusion matrix, or of many classes the pairs that are taken for each other most often."""
    return by_head(results, "confusion", lambda head, found: _matrix(head, found, figures))


def per_tag(results: Mapping[str, Any]) -> str:
    """For each head precision, recall and F1 of each label, the most frequent one first."""
    return by_head(results, "per_tag", lambda _, found: _labels(found))


def calibration(results: Mapping[str, Any], figures: Path) -> str:
    """For each head how often it was right when it was so sure."""
    return by_head(results, "calibration", lambda head, found: _calibration(head, found, figures))


def by_head(results: Mapping[str, Any], key: str, draw: Any) -> str:
    """`draw(head, entry)` of each head's entry under `key`; heads are named where there are several."""
    found = results.get(key)
    if not isinstance(found, Mapping):
        return ""
    drawn = {head: draw(head, entry) for head, entry in found.items() if entry}
    return "".join((f"<h3>{escape(words(head))}</h3>" if len(found) > 1 else "") + body for head, body in drawn.items())


def lengths(results: Mapping[str, Any], figures: Path) -> str:
    """How good the answers are on short and on long rows."""
    found = results.get("lengths")
    if not isinstance(found, Mapping) or not found.get("rows"):
        return ""
    svg = adapted(save(quality_by_length(found), figures, "quality_by_length"), "lengths")
    metric, unit = words(str(found.get("metric", ""))), str(found.get("unit", "length"))
    models, rows = length_table(found)
    columns = [Column(unit), Column("rows", "n"), *(Column(name, "n") for name in models)]
    shown = table(columns, (("", [escape(cell) for cell in row]) for row in rows), f"{metric} by {unit}")
    return picture(svg, f"Line chart: {metric} against {unit}, one line for each model") + shown


def padding(results: Mapping[str, Any]) -> str:
    """How much of the training batches was padding, in a sentence."""
    found = results.get("padding")
    share = found.get("share") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not is_number(share):
        return ""
    said = f"{share:.1%} of the cells of the training batches are padding"
    if is_number(found.get("unsorted")):
        said += f"; without rows of like length side by side it would be {found['unsorted']:.1%}"
    return f'<p class="dim under">{said}.</p>'


def _matrix(head: str, found: Mapping[str, Any], figures: Path) -> str:
    names, matrix = [str(name) for name in found["names"]], found["matrix"]
    used = [i for i in range(len(names)) if any(matrix[i]) or any(row[i] for row in matrix)]
    if len(used) > _MOST_DRAWN:
        return _pairs(names, matrix)
    sums = [sum(row) or 1 for row in matrix]

    def cell(i: int, j: int) -> Cell:
        row, column = used[i], used[j]
        count = matrix[row][column]
        hint = f"{names[row]} read as {names[column]}: {count:,} of {sum(matrix[row]):,}"
        text = f"{count:,}" if count else ""
        return Cell(count / sums[row], text, hint, BLUE if row == column else ORANGE if count else GREY)

    drawn = [names[i] for i in used]
    most = max((wide(f"{count:,}") for row in matrix for count in row), default=1)
    few = 10 if len(used) <= 10 else 0
    svg = heat(drawn, drawn, cell, ("gold", "said"), width=max(28 + few, 7 * most + 8), height=26 + few // 2)
    name = f"confusion_{filename(head)}"
    atomic_write(figures / f"{name}.svg", svg)
    atomic_write(figures / f"{name}.png", png(svg))
    caption = (
        "Rows: what is right; columns: what the model said. Blue is right, orange wrong; "
        "the stronger, the larger its share of the row."
    )
    return picture(svg, "Heat map: confusion matrix, gold labels by said labels", caption, kind="map")


def _pairs(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """The most frequent confusions as a table."""

    def wrong() -> Iterator[tuple[int, int, int]]:
        for i, row in enumerate(matrix):
            for j, count in enumerate(row):
                if i != j and count:
                    yield count, i, j

    pairs = sorted(wrong(), key=lambda pair: (-pair[0], pair[1:]))
    if not pairs:
        return "<p>No two labels were confused.</p>"
    columns = [Column("gold"), Column("said"), Column("times", "n"), Column("share of the gold label", "n")]
    body = [
        ("", [escape(names[i]), escape(names[j]), f"{count:,}", f"{count / sum(matrix[i]):.1%}"])
        for count, i, j in pairs[:_MOST_PAIRS]
    ]
    total = sum(count for count, _, _ in pairs)
    shown = "all" if len(pairs) <= _MOST_PAIRS else f"the most frequent {len(body)}"
    said = f"{total:,} confusions of {len(pairs):,} kinds among {len(names):,} labels; {shown} of them:"
    return f'<p class="dim">{said}</p>' + table(columns, body, "The most frequent confusions")


def _labels(found: Sequence[Mapping[str, Any]]) -> str:
    rows = sorted(found, key=lambda row: (-(row.get("support") or 0), str(row.get("label"))))
    columns = [Column("label"), *(Column(name, "n") for name in ("precision", "recall", "F1", "support"))]
    body = [
        (
            "",
            [
                escape(str(row.get("label", "?"))),
                *(f"{row[key]:.2%}" if is_number(row.get(key)) else "–" for key in ("precision", "recall", "f1")),
                digits(row.get("support")),
            ],
        )
        for row in rows
    ]
    shown = table(columns, body[:_MOST_LABELS], "Precision, recall and F1 of each label")
    rest = body[_MOST_LABELS:]
    if not rest:
        return shown
    return shown + more(f"The other {len(rest)} labels", table(columns, rest, "The rarer labels"))


def _calibration(head: str, found: Mapping[str, Any], figures: Path) -> str:
    name = f"calibration_{filename(head)}"
    svg = adapted(save(calibration_curve(found), figures, name), name)
    caption = "A point above the dashed line: right more often than the model was sure; below it: too sure."
    error = found.get("expected_error")
    if is_number(error):
        caption = (
            f"Expected calibration error: {error:.2%}, the mean distance from the line over all answers. {caption}"
        )
    return picture(svg, "Line chart: share of right answers against the model's probability", caption)
