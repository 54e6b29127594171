"""The sheet that a drawing is made on: a chain of boxes over three steps of time, with words left of it.

Lines and letters are `currentColor`, so that the picture follows the page into the dark.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from .parts import Part

STEPS = 3
MIDDLE = 2
FIRST = 442  # px, centre of the first column; the words stand left of it
PITCH = 190  # px, column to column
BOX = (112, 44)  # px, width and height
ROW = 104  # px, row to row
STATE = 62  # px, of the arrow of the first state, and of the last one
END = FIRST + PITCH * (STEPS - 1) + BOX[0] // 2 + 84
_COLOURS = {"cell": "#e8710a", "layer": "#8b5cf6", "pointwise": "#3b82f6"}


class Row(NamedTuple):
    """A part as it is drawn."""

    part: Part
    title: str  # in the box
    words: list[str]  # left of it
    skips: tuple[str, ...]


class Fold(NamedTuple):
    """Equal groups of rows that are drawn once."""

    start: int
    length: int
    times: int


class Sheet:
    """A chain from bottom to top, from `top` px on.

    `read` and `written` name the circles below and above it, one a step: "x_1". Without `written` there are none above.
    """

    def __init__(
        self, rows: list[Row], folds: list[Fold], read: Sequence[str], written: Sequence[str] = (), top: int = 0
    ) -> None:
        self.rows, self.folds, self.read, self.written, self.top = rows, folds, read, written, top
        self.bottom = top + ROW * (len(rows) + 1) + 78
        self.out: list[str] = []

    def draw(self) -> None:
        ids = bool(self.rows) and self.rows[0].part.detail.startswith("Embedding")
        for t in range(1, STEPS + 1):
            x = self.column(t)
            self.circle(x, self.input_y, self.read[t - 1])
            for i, row in enumerate(self.rows):
                if not row.part.pooled or t == MIDDLE:
                    self.box(x, self.y(i), row)
                self.arrow(x, self.input_y - 19 if i == 0 else self.high(i - 1), x, self.y(i) + BOX[1] / 2)
            once = bool(self.rows) and self.rows[-1].part.pooled
            if self.written and (t == MIDDLE or not once):
                self.circle(x, self.output_y, self.written[t - 1].partition("_")[0] if once else self.written[t - 1])
                if self.rows:
                    self.arrow(x, self.high(len(self.rows) - 1), x, self.output_y + 19)
            self.bypasses(x)
        for i, row in enumerate(self.rows):
            self.words(i, row)
            self.in_time(i, row)
            if row.part.out is not None:
                self.text(FIRST - 11, self.high(i) - 24, f"[B, {row.part.out}]", 11, "end", dim=True)
        self.text(FIRST - 28, self.input_y + 4, "token ids [B]" if ids else "input [B, …]", 11, "end", dim=True)
        self.fold_marks()
        self.text(END - 4, self.bottom - 10, "time →", 12, "end", dim=True)

    @property
    def output_y(self) -> int:
        return self.top + 28

    @property
    def input_y(self) -> int:
        return self.bottom - 44

    def y(self, row: int) -> float:
        """The middle of a row."""
        return self.input_y - ROW * (row + 1) + 4

    def high(self, row: int) -> float:
        """The upper side of a row's boxes."""
        return self.y(row) - BOX[1] / 2

    def column(self, t: int) -> int:
        return FIRST + PITCH * (t - 1)

    def box(self, x: float, y: float, row: Row) -> None:
        w, h = BOX
        w += 2 * PITCH * row.part.pooled  # below it are all steps
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
        self.path(f"M{x1:g} {y1:g}L{x2:g} {y2:g}", tip=True, both=both, dashed=dashed)

    def path(self, d: str, *, tip: bool = False, both: bool = False, dashed: bool = False, faint: bool = False) -> None:
        """A line: with a tip at its end or at both; faint for a frame."""
        look = ' marker-end="url(#tip)"' * tip + ' marker-start="url(#tip)"' * both
        look += ' stroke-dasharray="4 4"' * dashed + ' stroke-opacity="0.35"' * faint
        self.out.append(f'<path d="{d}" fill="none" stroke="currentColor" stroke-width="1.3"{look}/>')

    def in_time(self, i: int, row: Row) -> None:
        """The state's arrows: from the first state on the left to the steps that are not drawn on the right."""
        if row.part.direction == "none":
            return
        both, y, half = row.part.direction == "both", self.y(i), BOX[0] / 2
        names = ", ".join(name.partition(" [")[0] for name in row.part.state)
        label = names if 0 < len(names) <= 9 else "state"
        left = self.column(1) - half - STATE
        self.arrow(left, y, self.column(1) - half, y, both)
        self.text(left + 26, y - 10, label, 12, "middle", italic=True, index="0")
        for t in range(1, STEPS + 1):
            x = self.column(t) + half
            last = t == STEPS
            self.arrow(x, y, x + (STATE if last else PITCH - 2 * half), y, both, dashed=last)
            self.text(x + (40 if last else 44), y - 10, label, 12, "middle", italic=True, index=str(t))

    def bypasses(self, x: float) -> None:
        """Each residual connection: around its parts, and added above them."""
        spans: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            for skip in row.skips:
                spans.setdefault(skip, []).append(i)
        for skip, span in spans.items():
            depth = self.rows[span[0]].skips.index(skip)
            side = x + BOX[0] / 2 + 14 - 6 * min(depth, 1)
            # Between two boxes are 60 px: from below the sums (inner, outer), the branches (outer, inner), the tip.
            high = self.y(span[-1]) - BOX[1] / 2 - (13 if depth else 27)
            low = self.y(span[0]) + BOX[1] / 2 + (11 if depth else 19)
            self.out.append(
                f'<path d="M{x:g} {low:g}H{side - 6:g}q6 0 6 -6V{high + 6:g}q0 -6 -6 -6H{x + 7:g}" fill="none" '
                'stroke="currentColor" stroke-opacity="0.6" stroke-width="1.2"/>'
                f'<circle cx="{x:g}" cy="{high:g}" r="6.5" class="sum" fill="#fff" stroke="currentColor"/>'
                f'<path d="M{x - 3.5:g} {high:g}h7M{x:g} {high - 3.5:g}v7" stroke="currentColor" stroke-width="1.2"/>'
            )

    def words(self, i: int, row: Row) -> None:
        self.about(self.y(i) - 8 * (len(row.words) - 1) + 4, row.words)

    def about(self, top: float, lines: Sequence[str]) -> None:
        """Words left of the boxes, from `top` on; the first line is the strongest."""
        for n, line in enumerate(lines):
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


def document(title: str, words: str, height: int, out: Sequence[str]) -> str:
    """The SVG element of what sheets have drawn."""
    return (
        f'<svg class="drawing" role="img" aria-label="{escape(title)}" viewBox="0 0 {END} {height}" '
        f'width="{END}" height="{height}" xmlns="http://www.w3.org/2000/svg" '
        'font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">'
        f"<title>{escape(title)}</title><desc>Bottom to top: {escape(words)}.</desc>"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="currentColor"/></marker></defs>'
        + "".join(out)
        + "</svg>"
    )
