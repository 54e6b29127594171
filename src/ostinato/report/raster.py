"""The drawing's SVG as PNG, by matplotlib: no browser, no further library.

It reads just the SVG that `drawing` writes. Whatever else it meets it refuses, so that the two cannot drift apart in
silence.
"""

import io
import math
import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import BoxStyle, Circle, FancyBboxPatch, Patch, PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.transforms import Affine2D, Transform

from .canvas import INK, printable, style

_INCH = 64  # px of the drawing; a power of two, so that the picture's size is whole
_POINT = 72 / _INCH  # points in one px
_LONGEST = 2**15  # pixels; the renderer takes no side of 2**16
_WIDE = 0.9  # DejaVu Sans is that much wider than the fonts of a browser
_STROKE = {"stroke", "stroke-width", "stroke-opacity", "stroke-dasharray"}
_KNOWN = {
    "rect": {"x", "y", "width", "height", "rx", "fill", "fill-opacity", *_STROKE},
    "circle": {"cx", "cy", "r", "class", "fill", "fill-opacity", *_STROKE},
    "path": {"d", "fill", "fill-opacity", "marker-start", "marker-end", *_STROKE},
    "text": {"x", "y", "font-size", "font-weight", "font-style", "text-anchor", "fill", "opacity"},
    "tspan": {"dy", "font-size", "font-style"},
    "marker": {"id", "viewBox", "refX", "refY", "markerWidth", "markerHeight", "orient"},
}
_NUMBER = r"-?\d*\.?\d+(?:e[+-]?\d+)?"
_NEEDS = {"M": 2, "L": 2, "H": 1, "V": 1, "h": 1, "v": 1, "q": 4, "z": 0}


def png(svg: str) -> bytes:
    """The PNG file of a `drawing`, on white, two pixels a px (fewer where a side would pass 32,768 pixels).

    Raises:
        ValueError: an element, an attribute or a path command that `drawing` did not write when this was written.
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
        match _checked(element):
            case "title" | "desc":
                pass
            case "defs":
                markers |= {f"url(#{marker.attrib['id']})": marker for marker in element if _checked(marker)}
            case "rect":
                x, y, w, h, r = (float(element.attrib[key]) for key in ("x", "y", "width", "height", "rx"))
                box = BoxStyle.Round(pad=0, rounding_size=r)
                yield FancyBboxPatch((x, y), w, h, boxstyle=box, transform=down, **_paint(element))
            case "circle":
                x, y, r = (float(element.attrib[key]) for key in ("cx", "cy", "r"))
                yield Circle((x, y), r, transform=down, **_paint(element))
            case "path":
                path = _path(element.attrib["d"])
                yield PathPatch(path, transform=down, **_paint(element))
                yield from _heads(element, path, markers, down)
            case "text":
                yield from _text(element, down)
            case tag:
                raise ValueError(f"an SVG element that drawing.py writes was expected, and <{tag}> came; draw it here")


def _checked(element: Element) -> str:
    """The element's tag, when it has no attribute that would be passed over."""
    tag = element.tag.rpartition("}")[2]
    if odd := set(element.attrib) - _KNOWN.get(tag, set(element.attrib)):
        raise ValueError(f"<{tag}> with attributes that drawing.py writes was expected, and {sorted(odd)} came")
    return tag


def _paint(element: Element) -> dict[str, object]:
    get = element.attrib.get
    width = float(get("stroke-width", "1"))
    look: dict[str, object] = {
        "facecolor": _colour(get("fill", "#000"), float(get("fill-opacity", "1"))),
        "edgecolor": _colour(get("stroke", "none"), float(get("stroke-opacity", "1"))),
        "linewidth": width * _POINT,
    }
    if dashes := get("stroke-dasharray"):  # in px; matplotlib counts in line widths
        look["linestyle"] = (0, [float(dash) / width for dash in dashes.split()])
    return look


def _colour(name: str, opacity: float) -> tuple[float, float, float, float]:
    return (0, 0, 0, 0) if name == "none" else to_rgba(INK if name == "currentColor" else name, opacity)


def _path(d: str) -> Path:
    if re.sub(rf"[MLHVhvqz]|{_NUMBER}|[\s,]", "", d):
        raise ValueError(f"a path of the commands {' '.join(_NEEDS)} was expected, and {d!r} came")
    points: list[tuple[float, float]] = []
    codes: list[int] = []
    x = y = 0.0
    for command, rest in re.findall(r"([MLHVhvqz])([^MLHVhvqz]*)", d):
        given = [float(number) for number in re.findall(_NUMBER, rest)]
        size = _NEEDS[command]
        for n in range(0, len(given), size) if size else (0,):
            a = given[n : n + size]
            code = Path.LINETO
            if command == "z":
                code = Path.CLOSEPOLY
            elif command == "q":
                points.append((x + a[0], y + a[1]))
                codes.append(Path.CURVE3)
                x, y, code = x + a[2], y + a[3], Path.CURVE3
            elif command in "ML":
                (x, y), code = a, Path.MOVETO if command == "M" and n == 0 else Path.LINETO
            else:
                x = a[0] if command == "H" else x + a[0] if command == "h" else x
                y = a[0] if command == "V" else y + a[0] if command == "v" else y
            points.append((x, y))
            codes.append(code)
    return Path(points, codes)


def _heads(element: Element, path: Path, markers: dict[str, Element], down: Transform) -> Iterator[Patch]:
    """The markers at the ends of a straight line; that at its start points back ("auto-start-reverse")."""
    (x1, y1), (x2, y2) = path.vertices[0], path.vertices[-1]
    for key, x, y, turn in (
        ("marker-end", x2, y2, math.atan2(y2 - y1, x2 - x1)),
        ("marker-start", x1, y1, math.atan2(y1 - y2, x1 - x2)),
    ):
        if key in element.attrib:
            marker = markers[element.attrib[key]]
            ref_x, ref_y, width = (float(marker.attrib[name]) for name in ("refX", "refY", "markerWidth"))
            size = width / float(marker.attrib["viewBox"].split()[2]) * float(element.attrib["stroke-width"])
            place = Affine2D().translate(-ref_x, -ref_y).scale(size).rotate(turn).translate(x, y)
            for shape in marker:
                look = _paint(shape)
                yield PathPatch(_path(shape.attrib["d"]), transform=place + down, **look)


def _text(element: Element, down: Transform) -> Iterator[Patch]:
    """A line of text and its index, as outlines: their widths are known before anything is drawn."""
    get = element.attrib.get
    size = float(element.attrib["font-size"])
    weight, slant = int(get("font-weight", "400")), get("font-style", "normal")
    runs = [(element.text or "", size, slant, 0.0)]
    for index in element:
        if _checked(index) != "tspan":
            raise ValueError(f"<tspan> was expected in a text, and <{index.tag}> came; draw it here")
        own = index.attrib
        runs.append((index.text or "", float(own["font-size"]), own.get("font-style", slant), float(own["dy"])))
    set_runs = []
    for words, high, slanted, dy in runs:
        font = FontProperties("DejaVu Sans", slanted, weight=weight, size=high * _WIDE)
        words = printable(words, font)
        wide, _, _ = text_to_path.get_text_width_height_descent(words, font, ismath=False)
        set_runs.append((words, font, dy, wide))
    share = {"start": 0.0, "middle": 0.5, "end": 1.0}[get("text-anchor", "start")]
    x, y = float(element.attrib["x"]) - share * sum(run[-1] for run in set_runs), float(element.attrib["y"])
    colour = _colour(get("fill", "#000"), float(get("opacity", "1")))
    for words, font, dy, wide in set_runs:
        y += dy
        place = Affine2D().scale(1, -1).translate(x, y)
        yield PathPatch(TextPath((0, 0), words, prop=font), transform=place + down, facecolor=colour, linewidth=0)
        x += wide
