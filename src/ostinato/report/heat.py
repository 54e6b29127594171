"""A table of shades, as SVG by hand: confusion matrices and attention maps.

Shades are one colour at several opacities, and letters are `currentColor`: so both follow the page into the dark. The
words beside it are the browser's text, so that any script can be read.
"""

import unicodedata
from collections.abc import Callable, Sequence
from html import escape
from math import cos, radians, sin
from typing import NamedTuple

from .canvas import BLUE

_STRONGEST = 0.72  # opacity; letters can still be read on it
_LONGEST = 22  # letters of a name; wide ones count twice
_LETTER = 6.6  # px, of a name of size 12
_TURN = 55  # degrees, of the names above
_GAP = 8  # px, between names and cells


class Cell(NamedTuple):
    """One cell: how strong its colour is, and what is written in it and shown beside the pointer."""

    shade: float  # 0..1
    text: str = ""
    hint: str = ""
    colour: str = BLUE


def heat(
    rows: Sequence[str],
    columns: Sequence[str],
    cell: Callable[[int, int], Cell],
    axes: tuple[str, str],
    width: int = 26,
    height: int = 24,
) -> str:
    """An SVG element: `cell(row, column)` of each pair, with names at the left and above.

    Args:
        rows, columns: names; long ones are cut.
        axes: what the rows and the columns are.
        width, height: of a cell, px.
    """
    rows, columns = [_cut(name) for name in rows], [_cut(name) for name in columns]
    turned = any(1.2 * wide(name) * _LETTER > width - 4 for name in columns)
    longest = max(map(wide, columns), default=0) * _LETTER
    slope = radians(_TURN)
    left = max(max(map(wide, rows), default=0) * _LETTER, (wide(axes[0]) + 2) * _LETTER) + 2 * _GAP
    top = 22 + (longest * sin(slope) if turned else 14) + 2 * _GAP
    right = left + width * len(columns)
    sheet = _Sheet()
    sheet.text(left - _GAP, top - _GAP, f"{axes[0]} ↓", "end", dim=True)
    sheet.text(left, 14, f"{axes[1]} →", "start", dim=True)
    for j, name in enumerate(columns):
        x = left + width * (j + 0.5)
        if turned:
            sheet.text(x + 3, top - _GAP, name, "start", turn=-_TURN)
        else:
            sheet.text(x, top - _GAP, name, "middle")
    for i, name in enumerate(rows):
        y = top + height * i
        sheet.text(left - _GAP, y + height / 2 + 4, name, "end")
        for j in range(len(columns)):
            sheet.cell(left + width * j, y, width, height, cell(i, j))
    end = max(right + (longest * cos(slope) if turned else 0), left + wide(axes[1]) * _LETTER + 20) + _GAP
    return sheet.svg(end, top + height * len(rows) + _GAP)


class _Sheet:
    def __init__(self) -> None:
        self.out: list[str] = []

    def svg(self, width: float, height: float) -> str:
        w, h = round(width), round(height)
        return (
            f'<svg viewBox="0 0 {w} {h}" width="{w}" height="{h}" xmlns="http://www.w3.org/2000/svg" '
            "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, 'Noto Sans', "
            "'Noto Sans CJK SC', sans-serif\">" + "".join(self.out) + "</svg>"
        )

    def cell(self, x: float, y: float, width: float, height: float, cell: Cell) -> None:
        hint = f"<title>{escape(cell.hint)}</title>" if cell.hint else ""
        self.out.append(
            f'<rect x="{x + 0.5:g}" y="{y + 0.5:g}" width="{width - 1:g}" height="{height - 1:g}" rx="2" '
            f'fill="{cell.colour}" fill-opacity="{0.05 + (_STRONGEST - 0.05) * cell.shade:.3f}" '
            f'stroke="none">{hint}</rect>'
        )
        if cell.text:
            self.text(x + width / 2, y + height / 2 + 4, cell.text, "middle", size=11)

    def text(
        self, x: float, y: float, words: str, anchor: str, size: int = 12, *, dim: bool = False, turn: int = 0
    ) -> None:
        look = ' opacity="0.72"' if dim else ""
        look += f' transform="rotate({turn} {x:g} {y:g})"' if turn else ""
        self.out.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="currentColor"{look} '
            f'pointer-events="none">{escape(words)}</text>'
        )


def wide(text: str) -> int:
    """How many letters' room a text takes: Chinese ones take two, marks above others none."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )


def _cut(name: str) -> str:
    if wide(name) <= _LONGEST:
        return name
    while wide(name) >= _LONGEST:
        name = name[:-1]
    return name + "…"
