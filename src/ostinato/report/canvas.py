"""What all figures share: one style, two file formats, and the way from a file's SVG into a page."""

import contextlib
import functools
import io
import re
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from ..storage import atomic_write

INK = "#1c2530"  # nothing but text and axes has it, so that a page can put its own colour there
BLUE, ORANGE, GREEN, GREY = "#3b82f6", "#e8710a", "#2f9e5b", "#8a94a3"  # seen on white and on black
_CHINESE = (  # fonts with Chinese signs, of Linux, macOS and Windows
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Arial Unicode MS"),
)
_STYLE: dict[Any, Any] = {  # matplotlib's own type for it is a union of a thousand literals
    "text.parse_math": False,  # a model may be called "$x"
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same pixels everywhere
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ostinato",
    "path.simplify": True,
}


def style() -> contextlib.AbstractContextManager[None]:
    """Within it, figures are made and saved in the report's style, whatever the user's matplotlibrc says."""
    return matplotlib.rc_context(_STYLE)


def save(figure: Figure, folder: Path, name: str) -> str:
    """Writes name.png (150 dpi) and name.svg into `folder`, each whole or not at all, and gives the SVG's text.

    The same figure gives the same bytes: no date, no random ids.
    """
    png, svg = io.BytesIO(), io.BytesIO()
    with style():
        FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    atomic_write(folder / f"{name}.png", png.getvalue())
    atomic_write(folder / f"{name}.svg", svg.getvalue())
    return svg.getvalue().decode()


def adapted(svg: str, name: str) -> str:
    """A saved SVG as an element for a page: no header, no background, ink in the page's colour, ids of its own.

    `name` keeps the ids of two figures on one page apart.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor")
    svg = re.sub(r'(<g id="patch_1">.*?)fill: #ffffff', r"\1fill: none", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'(<g id="patch_\d+">\s*<path[^>]*?)fill: #ffffff', r"\1fill: none", svg)
    svg = svg.replace("'DejaVu Sans'", "system-ui, sans-serif")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)


def family(text: str, others: tuple[str, ...] = _CHINESE) -> str:
    """The fonts to draw `text` with: DejaVu Sans, or the first installed one of `others` that has all its signs."""
    needed = {ord(sign) for sign in text if not sign.isspace()}
    if needed <= _known(findfont("DejaVu Sans")):
        return "DejaVu Sans"
    installed = set(fontManager.get_font_names())
    return next((name for name in others if name in installed and needed <= _known(findfont(name))), "DejaVu Sans")


def printable(text: str, font: FontProperties | None = None) -> str:
    """`text` with a box for each character that `font`, or else the figures' upright one, does not have."""
    known = _known(findfont(font or "DejaVu Sans"))
    return "".join(sign if ord(sign) in known or sign == " " else "\u25a1" for sign in text)


@functools.cache
def _known(path: str) -> frozenset[int]:
    return frozenset(get_font(path).get_charmap())
