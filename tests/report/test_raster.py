"""The model's PNG shows what its SVG says: the SVG is the oracle of each pixel looked at."""

import io
import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.bezier import BezierSegment
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.path import Path
from torch import nn

from ostinato.cells import GRU, LSTM
from ostinato.layers import Bidirectional, Pointwise, Residual, Stack
from ostinato.report import drawing
from ostinato.report.canvas import INK
from ostinato.report.outline import outline, rounded
from ostinato.report.raster import png

_SVG = "{http://www.w3.org/2000/svg}"
_MODELS = {
    "plain": nn.Sequential(nn.Embedding(50, 8), LSTM(8, 8), nn.Linear(8, 50)),
    "residual": Stack(Residual(Residual(GRU(4, 4), nn.LayerNorm(4)), nn.LayerNorm(4)), Pointwise(nn.Linear(4, 2))),
    "bidirectional": nn.Sequential(nn.Embedding(5, 3), Bidirectional(GRU(3, 4), GRU(3, 4)), nn.Linear(8, 2)),
    "12 equal layers": Stack(*[Residual(GRU(4, 4), nn.LayerNorm(4)) for _ in range(12)]),
    "12 layers": nn.Sequential(*[nn.Linear(n, n + 1) for n in range(1, 13)]),
    "none": nn.Sequential(),
}


def seen(svg: str) -> np.ndarray:
    return imread(io.BytesIO(png(svg)))[..., :3]


def at(pixels: np.ndarray, x: float, y: float) -> Any:
    return pixels[int(2 * y), int(2 * x)]


@pytest.mark.parametrize("name", _MODELS)
def test_boxes_circles_and_arrow_heads_are_where_the_svg_has_them(name: str) -> None:
    svg = drawing(_MODELS[name])
    root = ElementTree.fromstring(svg)
    pixels = seen(svg)
    assert pixels.shape == (2 * int(root.attrib["height"]), 2 * int(root.attrib["width"]), 3)
    for rect in root.iter(f"{_SVG}rect"):
        x, y, w, h = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        fill = 0.16 * np.array(to_rgb(rect.attrib["fill"])) + 0.84
        assert at(pixels, x + w / 2, y + 6) == pytest.approx(fill, abs=0.01)  # over the title
        assert at(pixels, x + w / 2 + 3, y) == pytest.approx(to_rgb(rect.attrib["stroke"]), abs=0.1)
        assert at(pixels, x + 0.2, y + 0.2) == pytest.approx((1, 1, 1), abs=0.01)  # outside of the round corner
        title = pixels[int(2 * y) + 24 : int(2 * (y + h)) - 24, int(2 * x) + 16 : int(2 * (x + w)) - 16]
        assert np.abs(title - to_rgb(INK)).max(axis=-1).min() < 0.05  # letters
    circles = list(root.iter(f"{_SVG}circle"))
    for circle in circles:
        x, y, r = (float(circle.attrib[key]) for key in ("cx", "cy", "r"))
        assert at(pixels, x + r * math.cos(0.7), y + r * math.sin(0.7)).max() < 0.75
    heads = 0
    for path in root.findall(f"{_SVG}path"):
        points, _ = outline(path.attrib["d"])
        for key, (x, y), other in (("end", points[-1], points[-2]), ("start", points[0], points[1])):
            if f"marker-{key}" in path.attrib:
                way = np.array(other) - (x, y)
                back = np.array([x, y]) + 4 * way / np.hypot(*way)
                side = 1.5 * way[::-1] / np.hypot(*way)  # beyond the line's own half width of 0.65 px
                assert at(pixels, *(back + side)) == pytest.approx(to_rgb(INK), abs=0.2)
                assert at(pixels, *(back + 4 * side)) == pytest.approx((1, 1, 1), abs=0.2)
                heads += 1
    assert heads == svg.count("marker-end=") + svg.count("marker-start=")
    assert len(circles) >= 6


def test_the_same_model_gives_the_same_file() -> None:
    first, second = (png(drawing(_MODELS["plain"])) for _ in range(2))
    assert first[:8] == b"\x89PNG\r\n\x1a\n" and first == second


def test_a_name_in_any_script_is_drawn_without_a_warning() -> None:
    odd = type("模型$x$ \u0639", (nn.Module,), {})
    assert np.abs(seen(drawing(nn.Sequential(odd()))) - 1).max() > 0.5


def test_a_drawing_that_is_too_tall_for_two_pixels_a_px_is_drawn_smaller() -> None:
    svg = '<svg width="10" height="40000" xmlns="http://www.w3.org/2000/svg"></svg>'
    assert seen(svg).shape[0] == 2**15


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ('<ellipse cx="1"/>', "<ellipse cx> came"),
        ('<circle cx="1" cy="1" r="1" transform="scale(2)"/>', "<circle transform> came"),
        ('<path d="M0 0C1 1 2 2 3 3"/>', "'C1 1 2 2 3 3' came"),
        ('<path d="M0 0H1 2"/>', "'H1 2' came"),
        ('<text x="1" y="1" font-size="9">a<a/></text>', "<a> came"),
    ],
)
def test_what_it_cannot_draw_it_refuses(inside: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        png(f'<svg width="10" height="10" xmlns="http://www.w3.org/2000/svg">{inside}</svg>')


def test_a_paths_letters_are_the_points_they_say() -> None:
    points, codes = outline("M1 2 3 4L5 6H7h-2V8v1.5q0 6 6 6z")
    assert points == [(1, 2), (3, 4), (5, 6), (7, 6), (5, 6), (5, 8), (5, 9.5), (5, 15.5), (11, 15.5), (11, 15.5)]
    assert codes == [Path.MOVETO] + [Path.LINETO] * 6 + [Path.CURVE3] * 2 + [Path.CLOSEPOLY]


def test_a_round_corner_is_a_quarter_of_a_circle() -> None:
    box = rounded(10, 20, 112, 44, 20)
    extents = box.get_extents()
    assert (extents.x0, extents.y0, extents.x1, extents.y1) == (10, 20, 122, 64)
    curves = [BezierSegment(corner) for corner in np.asarray(box.vertices)[:16].reshape(4, 4, 2)]
    centres = [(30, 40), (102, 40), (102, 44), (30, 44)]
    for curve, centre in zip(curves, centres, strict=True):
        distances = np.hypot(*(curve(np.linspace(0, 1, 33)) - centre).T)
        assert distances == pytest.approx(np.full(33, 20.0), rel=3e-4)
