"""The SVG of drawings and heat maps as PNG, by matplotlib alone.

It reads just the SVG that `drawing` and `heat` write and refuses the rest, so that they cannot drift apart unseen.
"""

import io
import math
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, Patch, PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.transforms import Affine2D, Transform

from .canvas import INK, family, printable, style
from .outline import outline, rounded

_INCH = 64  # px of the drawing; a power of two keeps the picture's size whole
_LONGEST = 2**15  # pixels; the renderer takes no side of 2**16
_WIDE = 0.9  # DejaVu Sans is wider than a browser's fonts, for which the drawing leaves room
_PAINT = "fill fill-opacity stroke stroke-width stroke-opacity stroke-dasharray "
_ATTRIBUTES = {  # others have none
    "rect": _PAINT + "x y width height rx",
    "circle": _PAINT + "cx cy r class",
    "path": _PAINT + "d marker-start marker-end",
    "text": "x y font-size font-weight font-style text-anchor fill opacity transform pointer-events",
    "tspan": "dy font-size font-style",
    "marker": "id viewBox refX refY markerWidth markerHeight orient",
}


def png(svg: str) -> bytes:
    """The PNG file of a `drawing`, on white, two pixels a px (fewer where a side would pass 32,768 pixels).

    Raises:
        ValueError: an element, an attribute or a path command that is not drawn here.
    """
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    scale = min(2.0, _LONGEST / max(width, height))
    with style():
        figure = Figure(figsize=(width / _INCH, height / _INCH), dpi=_INCH * scale, facecolor="white")
        down = Affine2D().scale(1 / _INCH, -1 / _INCH).translate(0, height / _INCH) + figure.dpi_scale_trans
        for patch in _patches(root, down):
            figure.add_artist(patch)
        out = io.BytesIO()
        FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return out.getvalue()


def _patches(root: Element, down: Transform) -> Iterator[Patch]:
    """What the elements draw, in their order. `down` takes the drawing's px to the figure's pixels."""
    markers: dict[str, Element] = {}
    for element in root:
        given = element.attrib
        match _tag(element, "title desc defs rect circle path text"):
            case "defs":
                markers |= {f"url(#{marker.get('id')})": marker for marker in element if _tag(marker, "marker")}
            case "rect":
                box = rounded(*(float(given[key]) for key in ("x", "y", "width", "height", "rx")))
                yield PathPatch(box, transform=down, **_paint(element))
            case "circle":
                x, y, r = (float(given[key]) for key in ("cx", "cy", "r"))
                yield Circle((x, y), r, transform=down, **_paint(element))
            case "path":
                points, codes = outline(given["d"])
                yield PathPatch(Path(points, codes), transform=down, **_paint(element))
                for key, (x, y), (from_x, from_y) in (("end", *points[:-3:-1]), ("start", *points[:2])):
                    if name := given.get(f"marker-{key}"):
                        turn = math.atan2(y - from_y, x - from_x)
                        place = Affine2D().scale(float(given["stroke-width"])).rotate(turn).translate(x, y)
                        yield _head(markers[name], place + down)
            case "text":
                yield from _text(element, down)


def _tag(element: Element, expected: str) -> str:
    """The element's name, if it is expected here and has no attribute that would be passed over."""
    tag = element.tag.rpartition("}")[2]
    odd = sorted(set(element.attrib) - set(_ATTRIBUTES.get(tag, "").split()))
    if tag not in expected.split() or odd:
        raise ValueError(
            f"{expected} as drawing.py and heat.py write it was expected, <{' '.join([tag, *odd])}> came; draw it here"
        )
    return tag


def _paint(element: Element) -> dict[str, Any]:
    get = element.attrib.get
    width = float(get("stroke-width", "1"))
    look: dict[str, Any] = {"linewidth": width * 72 / _INCH}
    look["facecolor"] = _colour(get("fill", "#000"), get("fill-opacity", "1"))
    look["edgecolor"] = _colour(get("stroke", "none"), get("stroke-opacity", "1"))
    if dashes := get("stroke-dasharray"):  # in px; matplotlib counts in line widths
        look["linestyle"] = (0, [float(dash) / width for dash in dashes.split()])
    return look


def _colour(name: str, opacity: str) -> tuple[float, float, float, float]:
    return (0, 0, 0, 0) if name == "none" else to_rgba(INK if name == "currentColor" else name, float(opacity))


def _head(marker: Element, place: Transform) -> Patch:
    """A marker with its reference at the origin; its unit is the line's width."""
    (shape,), get = marker, marker.attrib
    _tag(shape, "path")
    size = float(get["markerWidth"]) / float(get["viewBox"].split()[2])
    own = Affine2D().translate(-float(get["refX"]), -float(get["refY"])).scale(size)
    return PathPatch(Path(*outline(shape.attrib["d"])), transform=own + place, **_paint(shape))


def _turned(transform: str | None) -> Transform:
    """rotate(DEGREES X Y), the only one that is written."""
    if transform is None:
        return Affine2D()
    degrees, x, y = map(float, transform.removeprefix("rotate(").removesuffix(")").split())
    return Affine2D().rotate_deg_around(x, y, degrees)


def _text(element: Element, down: Transform) -> Iterator[Patch]:
    """A line of text and its index as outlines, set by their widths."""
    get = element.attrib.get
    weight = "bold" if int(get("font-weight", "400")) >= 600 else "normal"
    look = {"facecolor": _colour(get("fill", "#000"), get("opacity", "1")), "linewidth": 0}
    runs = []
    for run in (element, *(index for index in element if _tag(index, "tspan"))):
        slant = "italic" if run.get("font-style", get("font-style")) == "italic" else "normal"
        size = float(run.attrib["font-size"]) * _WIDE
        font = FontProperties(family=family(run.text or ""), style=slant, weight=weight, size=size)
        words = printable(run.text or "", font)
        wide = text_to_path.get_text_width_height_descent(words, font, ismath=False)[0]
        runs.append((TextPath((0, 0), words, prop=font), wide, float(run.get("dy", "0"))))
    share = {"start": 0.0, "middle": 0.5, "end": 1.0}[get("text-anchor", "start")]
    x, y = float(element.attrib["x"]) - share * sum(wide for _, wide, _ in runs), float(element.attrib["y"])
    turned = _turned(get("transform"))
    for letters, wide, dy in runs:
        y += dy
        yield PathPatch(letters, transform=Affine2D().scale(1, -1).translate(x, y) + turned + down, **look)
        x += wide
