"""The picture of a model unrolled over three steps: input below, output above, time to the right.

Written as SVG by hand: no layout engine, so no overlap that the arithmetic of the sheet does not allow. A model that is
two chains, an encoder and a decoder, is drawn as two, one above the other, with what goes from one to the other.
"""

import textwrap
from collections.abc import Mapping
from typing import NamedTuple

from torch import nn

from .parts import Part, parts
from .sheet import BOX, END, STATE, STEPS, Fold, Row, Sheet, document

_MOST_ROWS = 9  # more than these are folded where they repeat
_GAP = 72  # px, between two chains
_TITLE = 26  # px, above the upper one


class Chains(NamedTuple):
    """The parts of a model that is two chains."""

    names: tuple[str, str]
    first: list[Part]
    second: list[Part]
    between: list[Part]  # in neither, such as what makes the first state of the second


def chains(model: nn.Module) -> Chains | None:
    """The chains of a model that is two, each in the order of the data; None where it is one.

    Such a model has an attribute `chains`: the name of each chain, the one that is read from first, and the paths of
    the modules in it.
    """
    told = getattr(model, "chains", None)
    if not isinstance(told, Mapping) or len(told) != 2:
        return None
    found = parts(model)
    one, two = ([p for path in paths for p in found if f"{p.name}.".startswith(f"{path}.")] for paths in told.values())
    first, second = told
    return Chains((str(first), str(second)), one, two, [part for part in found if part not in one + two])


def looks_back(part: Part) -> bool:
    """Whether a part of the second chain sees all outputs of the first."""
    return part.detail.startswith("Attention")


def drawing(model: nn.Module) -> str:
    """An SVG element of `model`'s parts from bottom to top, unrolled in time, with shapes and states written on it.

    Parts without parameters are named beside the part below them; equal groups of parts that repeat are drawn once,
    with their number. For a model of two chains see `chains`.
    """
    title = f"{type(model).__name__} unrolled over {STEPS} steps"
    if (two := chains(model)) is not None:
        return _coupled(two, title)
    sheet = Sheet(*_folded(_rows(parts(model))), _named("x"), _named("y"))
    sheet.draw()
    return document(title, _told(sheet), sheet.bottom, sheet.out)


def _named(letter: str, first: int = 1) -> list[str]:
    return [f"{letter}_{t}" for t in range(first, first + STEPS)]


def _told(sheet: Sheet) -> str:
    return ", then ".join(row.part.detail for row in sheet.rows)


def _coupled(model: Chains, title: str) -> str:
    """The second chain above the first: it reads what it wrote before, begins where the first ends, and looks back."""
    upper = Sheet(*_folded(_rows(model.second)), _named("y", 0), _named("y"), top=_TITLE)
    lower = Sheet(*_folded(_rows(model.first)), _named("x"), top=upper.bottom + _GAP)
    for sheet, name, above in ((upper, model.names[1], _TITLE), (lower, model.names[0], 0)):
        sheet.draw()
        top, low = sheet.top - above + 1, sheet.bottom
        sheet.path(f"M1 {top}H{END - 1}V{low}H1z", faint=True)
        sheet.text(24, top + 23, name, 15, weight=700)
    _begin(upper, lower, model.between)
    for i in (i for i, row in enumerate(upper.rows) if looks_back(row.part)):
        _look(upper, lower, i, f"memory: the {model.names[0]}'s outputs at all its steps")
    words = f"{model.names[0]}: {_told(lower)}; {model.names[1]}: {_told(upper)}"
    return document(title, words, lower.bottom + 1, upper.out + lower.out)


def _begin(upper: Sheet, lower: Sheet, between: list[Part]) -> None:
    """From the states in which the lower chain ends to those with which the upper one begins."""
    middle = (upper.bottom + lower.top) / 2
    left, right = upper.column(1) - BOX[0] / 2 - STATE, upper.column(STEPS) + BOX[0] / 2 + STATE
    ends = [i for i, row in enumerate(lower.rows) if row.part.direction != "none"]
    begins = [i for i, row in enumerate(upper.rows) if row.part.direction != "none"]
    if not ends or not begins:
        return
    upper.path(f"M{right:g} {lower.y(ends[0]):g}V{middle:g}H{left:g}V{upper.y(begins[-1]):g}")
    if any(lower.rows[i].part.direction == "both" for i in ends):
        upper.path(f"M{left:g} {lower.y(ends[0]):g}V{middle:g}")
    upper.text((left + right) / 2, middle - 7, "last state → first state", 11, "middle", dim=True)
    for n, part in enumerate(part for part in between if part.parameters):
        name = part.detail if part.name == part.detail.lower() else f"{part.name}: {part.detail}"
        upper.about(middle - 8 + 32 * n, [name.replace("->", "→"), f"{part.parameters:,} parameters"])


def _look(upper: Sheet, lower: Sheet, row: int, words: str) -> None:
    """A bar of all outputs of the lower chain, and from it to each box of the upper one's attention."""
    half, top, height = BOX[0] / 2, lower.top + 40, 32
    left, right = lower.column(1) - half, lower.column(STEPS) + half
    lower.path(f"M{left:g} {top:g}H{right + 26:g}V{top + height:g}H{left:g}z")
    lower.text((left + right) / 2, top + 21, words, 12, "middle")
    for t in range(1, STEPS + 1):
        x = upper.column(t) + half
        lower.arrow(lower.column(t), lower.high(len(lower.rows) - 1), lower.column(t), top + height)
        # Right of the boxes, beside residual connections and before the names of states.
        upper.path(f"M{x + 19:g} {top:g}V{upper.y(row):g}H{x:g}", tip=True, dashed=True)


def _rows(found: list[Part]) -> list[Row]:
    rows: list[Row] = []
    for part in found:
        said = textwrap.wrap(part.detail.replace("->", "→"), 28, max_lines=2, placeholder=" …")
        words = [*said, f"{part.parameters:,} parameters"]
        if part.direction != "none":
            whole = "carries " + (", ".join(part.state) or "its state")
            words += textwrap.wrap(
                whole.replace(" [", "\u00a0[").replace("[B, ", "[B,\u00a0"), 38, max_lines=2, placeholder=" …"
            )
        silent = part.kind == "pointwise" and not part.parameters and "tied" not in part.detail
        if silent and rows and rows[-1].skips == part.skips and len(rows[-1].words) < 4:
            rows[-1].words.append(f"then {part.detail}")
        else:
            rows.append(Row(part, part.detail.split(" ")[0].rstrip(","), words, part.skips))
    return rows


def _folded(rows: list[Row]) -> tuple[list[Row], list[Fold]]:
    """Of a tall model: the longest run of equal groups, drawn once. Equal: the same words and the same residuals."""
    if len(rows) <= _MOST_ROWS:
        return rows, []
    keys = []
    for before, row in zip([None, *rows[:-1]], rows, strict=True):
        goes_on = [before is not None and skip in before.skips for skip in row.skips]
        keys.append((row.title, *row.words, *goes_on))
    best = Fold(0, 0, 1)
    for length in range(1, len(rows) // 2 + 1):
        for start in range(len(rows) - 2 * length + 1):
            group = keys[start : start + length]
            times = 1
            while keys[start + times * length : start + (times + 1) * length] == group:
                times += 1
            saved = (times - 1) * length
            if saved > (best.times - 1) * best.length and _whole(rows, start, start + times * length):
                best = Fold(start, length, times)
    if best.times == 1:
        return rows, []
    return rows[: best.start + best.length] + rows[best.start + best.length * best.times :], [best]


def _whole(rows: list[Row], start: int, end: int) -> bool:
    """No residual is cut in two by the ends of rows[start:end]; one around all of them is not cut."""
    run = rows[start:end]
    outside = {skip for row in rows[:start] + rows[end:] for skip in row.skips}
    return all(skip in row.skips for skip in outside for row in run if any(skip in other.skips for other in run))
