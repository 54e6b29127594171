"""The picture of a model unrolled over three steps: input below, output above, time to the right.

Written as SVG by hand: no layout engine, so no overlap that the arithmetic below does not allow. Lines and letters are
`currentColor`, so that the picture follows the page into the dark.
"""

import textwrap
from html import escape
from typing import NamedTuple

from torch import nn

from .parts import Part, parts

_STEPS = 3
_GUTTER = 268  # px, the words left of the picture
_FIRST = 442  # px, centre of the first column
_PITCH = 190  # px, column to column
_BOX = (112, 44)  # px, width and height
_ROW = 104  # px, row to row
_END = _FIRST + _PITCH * (_STEPS - 1) + _BOX[0] // 2 + 84
_MOST_ROWS = 9  # more than these are folded where they repeat
_COLOURS = {"cell": "#e8710a", "layer": "#8b5cf6", "pointwise": "#3b82f6"}


class _Row(NamedTuple):
    part: Part
    title: str  # in the box
    words: list[str]  # left of it
    skips: tuple[str, ...]


class _Fold(NamedTuple):
    start: int
    length: int
    times: int


def drawing(model: nn.Module) -> str:
    """An SVG element of `model`'s parts from bottom to top, unrolled in time, with shapes and states written on it.

    Parts without parameters are named beside the part below them; equal groups of parts that repeat are drawn once,
    with their number.
    """
    rows = _rows(parts(model))
    rows, folds = _folded(rows)
    return _Sheet(rows, folds).svg(type(model).__name__)


def _rows(found: list[Part]) -> list[_Row]:
    rows: list[_Row] = []
    for part in found:
        words = [part.detail.replace("->", "→"), f"{part.parameters:,} parameters"]
        if part.direction != "none":
            whole = "carries " + (", ".join(part.state) or "its state")
            words += textwrap.wrap(
                whole.replace(" [", "\u00a0[").replace("[B, ", "[B,\u00a0"), 38, max_lines=2, placeholder=" …"
            )
        silent = part.kind == "pointwise" and not part.parameters and "tied" not in part.detail
        if silent and rows and rows[-1].skips == part.skips and len(rows[-1].words) < 4:
            rows[-1].words.append(f"then {part.detail}")
        else:
            rows.append(_Row(part, part.detail.split(" ")[0].rstrip(","), words, part.skips))
    return rows


def _folded(rows: list[_Row]) -> tuple[list[_Row], list[_Fold]]:
    """Of a tall model: the longest run of equal groups, drawn once. Equal: the same words and the same residuals."""
    if len(rows) <= _MOST_ROWS:
        return rows, []
    keys = []
    for before, row in zip([None, *rows[:-1]], rows, strict=True):
        goes_on = [before is not None and skip in before.skips for skip in row.skips]
        keys.append((row.title, *row.words, *goes_on))
    best = _Fold(0, 0, 1)
    for length in range(1, len(rows) // 2 + 1):
        for start in range(len(rows) - 2 * length + 1):
            group = keys[start : start + length]
            times = 1
            while keys[start + times * length : start + (times + 1) * length] == group:
                times += 1
            saved = (times - 1) * length
            if saved > (best.times - 1) * best.length and _whole(rows, start, start + times * length):
                best = _Fold(start, length, times)
    if best.times == 1:
        return rows, []
    return rows[: best.start + best.length] + rows[best.start + best.length * best.times :], [best]


def _whole(rows: list[_Row], start: int, end: int) -> bool:
    """No residual is cut in two by the ends of rows[start:end]; one around all of them is not cut."""
    run = rows[start:end]
    outside = {skip for row in rows[:start] + rows[end:] for skip in row.skips}
    return all(skip in row.skips for skip in outside for row in run if any(skip in other.skips for other in run))


class _Sheet:
    def __init__(self, rows: list[_Row], folds: list[_Fold]) -> None:
        self.rows, self.folds = rows, folds
        self.height = _ROW * (len(rows) + 1) + 78
        self.out: list[str] = []

    def svg(self, name: str) -> str:
        w = self.rows[0].part if self.rows else None
        ids = w is not None and w.detail.startswith("Embedding")
        for t in range(1, _STEPS + 1):
            x = self.column(t)
            self.circle(x, self.input_y, f"x_{t}")
            self.circle(x, self.output_y, f"y_{t}")
            for i, row in enumerate(self.rows):
                self.box(x, self.y(i), row)
                self.arrow(x, self.input_y - 19 if i == 0 else self.y(i - 1) - _BOX[1] / 2, x, self.y(i) + _BOX[1] / 2)
            if self.rows:
                self.arrow(x, self.y(len(self.rows) - 1) - _BOX[1] / 2, x, self.output_y + 19)
            self.bypasses(x)
        for i, row in enumerate(self.rows):
            self.words(i, row)
            self.in_time(i, row)
            if row.part.out is not None:
                self.text(_FIRST - 11, self.y(i) - _BOX[1] / 2 - 24, f"[B, {row.part.out}]", 11, "end", dim=True)
        self.text(_FIRST - 28, self.input_y + 4, "token ids [B]" if ids else "input [B, …]", 11, "end", dim=True)
        self.fold_marks()
        self.text(_END - 4, self.height - 10, "time →", 12, "end", dim=True)
        title = f"{name} unrolled over {_STEPS} steps"
        words = ", then ".join(row.part.detail for row in self.rows)
        return (
            f'<svg class="drawing" role="img" aria-label="{escape(title)}" viewBox="0 0 {_END} {self.height}" '
            f'width="{_END}" height="{self.height}" xmlns="http://www.w3.org/2000/svg" '
            'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">'
            f"<title>{escape(title)}</title><desc>Bottom to top: {escape(words)}.</desc>"
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="currentColor"/></marker></defs>'
            + "".join(self.out)
            + "</svg>"
        )

    @property
    def output_y(self) -> int:
        return 28

    @property
    def input_y(self) -> int:
        return self.height - 44

    def y(self, row: int) -> float:
        return self.input_y - _ROW * (row + 1) + 4

    def column(self, t: int) -> int:
        return _FIRST + _PITCH * (t - 1)

    def box(self, x: float, y: float, row: _Row) -> None:
        w, h = _BOX
        colour = _COLOURS[row.part.kind]
        radius = 20 if row.part.direction != "none" else 6
        self.out.append(
            f'<rect x="{x - w / 2:g}" y="{y - h / 2:g}" width="{w}" height="{h}" rx="{radius}" '
            f'fill="{colour}" fill-opacity="0.16" stroke="{colour}" stroke-width="1.5"/>'
        )
        self.text(x, y + 4.5, _cut(row.title, 14), 13, "middle", weight=600)

    def circle(self, x: float, y: float, name: str) -> None:
        self.out.append(f'<circle cx="{x}" cy="{y}" r="18" fill="none" stroke="currentColor" stroke-opacity="0.55"/>')
        self.indexed(x, y + 4.5, name, 13)

    def arrow(self, x1: float, y1: float, x2: float, y2: float, both: bool = False, dashed: bool = False) -> None:
        start = ' marker-start="url(#tip)"' if both else ""
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self.out.append(
            f'<path d="M{x1:g} {y1:g}L{x2:g} {y2:g}" fill="none" stroke="currentColor" stroke-width="1.3" '
            f'marker-end="url(#tip)"{start}{dash}/>'
        )

    def in_time(self, i: int, row: _Row) -> None:
        """The state's arrows: from the first state on the left to the steps that are not drawn on the right."""
        if row.part.direction == "none":
            return
        both, y, half = row.part.direction == "both", self.y(i), _BOX[0] / 2
        names = ", ".join(name.partition(" [")[0] for name in row.part.state)
        label = names if 0 < len(names) <= 9 else "state"
        left = self.column(1) - half - 62
        self.arrow(left, y, self.column(1) - half, y, both)
        self.text(left + 26, y - 10, label, 12, "middle", italic=True, index="0")
        for t in range(1, _STEPS + 1):
            x = self.column(t) + half
            last = t == _STEPS
            self.arrow(x, y, x + (62 if last else _PITCH - 2 * half), y, both, dashed=last)
            self.text(x + (40 if last else 44), y - 10, label, 12, "middle", italic=True, index=str(t))

    def bypasses(self, x: float) -> None:
        """Each residual connection: around its parts, and added above them."""
        spans: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            for skip in row.skips:
                spans.setdefault(skip, []).append(i)
        for skip, span in spans.items():
            depth = self.rows[span[0]].skips.index(skip)
            side = x + _BOX[0] / 2 + 14 - 6 * min(depth, 1)
            # Between two boxes are 60 px: from below the sums (inner, outer), the branches (outer, inner), the tip.
            high = self.y(span[-1]) - _BOX[1] / 2 - (13 if depth else 27)
            low = self.y(span[0]) + _BOX[1] / 2 + (11 if depth else 19)
            self.out.append(
                f'<path d="M{x:g} {low:g}H{side - 6:g}q6 0 6 -6V{high + 6:g}q0 -6 -6 -6H{x + 7:g}" fill="none" '
                'stroke="currentColor" stroke-opacity="0.6" stroke-width="1.2"/>'
                f'<circle cx="{x:g}" cy="{high:g}" r="6.5" class="sum" fill="#fff" stroke="currentColor"/>'
                f'<path d="M{x - 3.5:g} {high:g}h7M{x:g} {high - 3.5:g}v7" stroke="currentColor" stroke-width="1.2"/>'
            )

    def words(self, i: int, row: _Row) -> None:
        top = self.y(i) - 8 * (len(row.words) - 1) + 4
        for n, line in enumerate(row.words):
            if n == 0:
                self.text(24, top, _cut(line, 31), 13, weight=600)
            else:
                self.text(24, top + 16 * n, _cut(line, 38), 11.5, dim=True)

    def fold_marks(self) -> None:
        for fold in self.folds:
            top, bottom = self.y(fold.start + fold.length - 1) - 44, self.y(fold.start) + 40
            self.out.append(
                f'<path d="M16 {top:g}h-6V{bottom:g}h6" fill="none" stroke="currentColor" stroke-width="1.5"/>'
            )
            self.text(24, top + 2, f"× {fold.times}, one above the other", 12, weight=600)

    def indexed(self, x: float, y: float, name: str, size: float) -> None:
        letter, _, index = name.partition("_")
        self.text(x, y, letter, size, "middle", italic=True, index=index)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float,
        anchor: str = "start",
        *,
        dim: bool = False,
        italic: bool = False,
        weight: int = 400,
        index: str = "",
    ) -> None:
        style = (' opacity="0.72"' if dim else "") + (' font-style="italic"' if italic else "")
        sub = f'<tspan dy="3.5" font-size="{size * 0.75:g}" font-style="normal">{index}</tspan>' if index else ""
        self.out.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" font-weight="{weight}" text-anchor="{anchor}" '
            f'fill="currentColor"{style}>{escape(words)}{sub}</text>'
        )


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"
