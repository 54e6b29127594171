"""The report's sections to be read word by word: mistakes with what led to them, and where attention lay."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..storage import atomic_write
from .heat import Cell, heat, wide
from .page import facts, picture
from .raster import png
from .series import is_number
from .wording import entries, words

_BLUE, _ORANGE = "59,130,246", "232,113,10"  # canvas.BLUE and ORANGE
_STRONGEST = 0.55  # opacity; letters can still be read on it
_MOST_MAPS = 8
_LEGEND = (
    f'The most confident wrong answers on the test part. <span class="word" style="background:rgba({_ORANGE},.4)">'
    f'Orange</span> words speak for what the model said, <span class="word" style="background:rgba({_BLUE},.4)">'
    "blue</span> ones against it; the stronger, the more (gradient times input)."
)
_MAPS = "Each row is a word that was written; the stronger, the more it looked there."
_CUT = " A character whose bytes are several tokens stands at each of them, with … where it is cut."


def mistakes(results: Mapping[str, Any]) -> str:
    """The most confident wrong answers, their words coloured by how far they speak for them."""
    rows = [row for row in entries(results, "mistakes") if isinstance(row, Mapping)]
    if not rows:
        return ""
    several = len({row.get("head") for row in rows}) > 1
    return f'<p class="dim">{_LEGEND}</p>' + "".join(_mistake(row, several) for row in rows)


def _mistake(row: Mapping[str, Any], several: bool) -> str:
    sure = f" ({row['confidence']:.1%} sure)" if is_number(row.get("confidence")) else ""
    head = f"{escape(words(str(row.get('head'))))}: " if several else ""
    said, gold = escape(str(row.get("said", "?"))) or "–", escape(str(row.get("gold", "?"))) or "–"
    place = f'<span class="dim"> · {escape(str(row["place"]))}</span>' if row.get("place") else ""
    above = f'<div>{head}said <b class="said">{said}</b>{sure}, gold <b class="gold">{gold}</b>{place}</div>'
    return _text(above, row, row.get("saliency"), row.get("at"))


def _text(above: str, row: Mapping[str, Any], weights: Any, at: Any = None) -> str:
    tokens = [str(token) for token in row.get("tokens") or ()]
    if not isinstance(weights, Sequence) or len(weights) != len(tokens):
        weights = [0.0] * len(tokens)
    return f'<div class="sample">{above}<p dir="auto">{"".join(_words(tokens, weights, at))}</p></div>'


def _words(tokens: Sequence[str], weights: Sequence[float], at: Any) -> Iterator[str]:
    """Tokens with spaces between them, but not between Chinese ones, each on its colour."""
    most = max((abs(weight) for weight in weights), default=0) or 1
    for i, (token, weight) in enumerate(zip(tokens, weights, strict=True)):
        if i and not (_closed(tokens[i - 1]) and _closed(token)):
            yield " "
        kind = "word at" if i == at else "word"
        strength = _STRONGEST * abs(weight) / most
        look = f' style="background:rgba({_ORANGE if weight > 0 else _BLUE},{strength:.2f})"' * (strength >= 0.02)
        hint = f' title="{weight:+.3g}"' if weight else ""
        yield f'<span class="{kind}"{look}{hint}>{escape(token)}</span>'


def _closed(token: str) -> bool:
    return wide(token) == 2 * len(token)


def translations(results: Mapping[str, Any]) -> str:
    """Sentences of the test part, their references, and what the models wrote."""
    rows = [row for row in entries(results, "translations") if isinstance(row, Mapping)]
    pairs = ([(str(key), str(value) or "–") for key, value in row.items()] for row in rows)  # a model may write nothing
    return "".join(f'<div class="sample">{facts(row)}</div>' for row in pairs)


def attention(results: Mapping[str, Any], figures: Path) -> str:
    """Maps of target by source words, or texts whose words are shaded by their weight."""
    rows = [row for row in entries(results, "attention") if isinstance(row, Mapping)]
    maps = [row for row in rows if "source" in row][:_MOST_MAPS]
    out = [_map(row, i, figures) for i, row in enumerate(maps, start=1)]
    if out:
        cut = _CUT * any(
            _is_cut(str(word)) for row in maps for side in ("source", "target") for word in row.get(side) or ()
        )
        out.insert(0, f'<p class="dim">{_MAPS}{cut}</p>')
    pooled = [row for row in rows if "source" not in row]
    if pooled:
        out.append(
            '<p class="dim">Rows of the test part: the stronger a word is coloured, the more the model looks at it.</p>'
        )
    several = len({row.get("head") for row in pooled}) > 1
    return "".join(out) + "".join(_pooled(row, several) for row in pooled)


def _is_cut(word: str) -> bool:
    return len(word) > 1 and (word[0] == "…" or word[-1] == "…")


def _map(row: Mapping[str, Any], number: int, figures: Path) -> str:
    source, target = [str(word) for word in row["source"]], [str(word) for word in row.get("target") or ()]
    weights = row.get("weights") or []

    def cell(i: int, j: int) -> Cell:
        weight = weights[i][j] if i < len(weights) and j < len(weights[i]) else 0.0
        return Cell(min(max(weight, 0.0), 1.0), hint=f"{target[i]} ← {source[j]}: {weight:.2f}")

    svg = heat(target, source, cell, ("target", "source"), width=26 if len(source) <= 32 else 20)
    atomic_write(figures / f"attention_{number}.svg", svg)
    atomic_write(figures / f"attention_{number}.png", png(svg))
    caption = str(row.get("caption") or "")
    return picture(svg, f"Heat map: attention of each target word to each source word, {number}", caption, kind="map")


def _pooled(row: Mapping[str, Any], several: bool) -> str:
    said, gold = escape(str(row.get("said", "?"))) or "–", escape(str(row.get("gold", "?"))) or "–"
    head = f"{escape(words(str(row.get('head'))))}: " if several else ""
    right = "rightly" if said == gold else f'gold <b class="gold">{gold}</b>'
    place = f'<span class="dim"> · {escape(str(row["place"]))}</span>' if row.get("place") else ""
    weights = row.get("weights")
    # Shades of blue: a negative sign is the colour alone.
    shaded = [-float(weight) for weight in weights] if isinstance(weights, Sequence) else None
    return _text(f'<div>{head}said <b class="said">{said}</b>, {right}{place}</div>', row, shaded)
