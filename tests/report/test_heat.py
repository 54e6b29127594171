"""Heat maps show each number in its place; the PNG is what the SVG says."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from ostinato.report.canvas import BLUE, ORANGE, family
from ostinato.report.heat import Cell, heat, wide
from ostinato.report.raster import png

_SVG = "{http://www.w3.org/2000/svg}"


def drawn(rows: list[str], columns: list[str], shades: list[list[float]]) -> ElementTree.Element:
    text = heat(rows, columns, lambda i, j: Cell(shades[i][j], str(10 * i + j)), ("gold", "said"))
    return ElementTree.fromstring(text)


def test_cells_stand_in_rows_and_columns_and_are_as_strong_as_their_number() -> None:
    shades = [[0.0, 0.5, 1.0], [0.25, 0.75, 0.1]]
    root = drawn(["a", "b"], ["x", "y", "z"], shades)
    cells = [{key: rect.attrib[key] for key in ("x", "y", "fill-opacity")} for rect in root.iter(f"{_SVG}rect")]
    places = [(float(cell["y"]), float(cell["x"])) for cell in cells]
    assert places == sorted(places) and len({y for y, _ in places}) == 2 and len({x for _, x in places}) == 3
    strength = [float(cell["fill-opacity"]) for cell in cells]
    assert np.argsort(strength).tolist() == np.argsort([s for row in shades for s in row]).tolist()
    assert max(strength) < 0.8, "letters can be read on the strongest"
    texts = [text.text or "" for text in root.iter(f"{_SVG}text")]
    assert [text for text in texts if text.isdigit()] == ["0", "1", "2", "10", "11", "12"]


@pytest.mark.parametrize("columns", [["a", "b"], ["a very long name of a class", "b"], ["北京大学", "。"]])
def test_nothing_reaches_over_the_edge(columns: list[str]) -> None:
    """Each letter is at most as wide as reckoned, for ordinary names."""
    root = drawn(["gold name", "b"], columns, [[0, 0], [0, 0]])
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for rect in root.iter(f"{_SVG}rect"):
        assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= width
        assert float(rect.attrib["y"]) + float(rect.attrib["height"]) <= height
    pixels = imread(io.BytesIO(png(ElementTree.tostring(root, encoding="unicode"))))[..., :3]
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 1).all()


def test_names_that_fit_their_column_stand_upright_and_long_ones_are_turned_and_cut() -> None:
    upright = drawn(["a"], ["东", "x"], [[0, 0]])
    assert not [text for text in upright.iter(f"{_SVG}text") if "transform" in text.attrib]
    turned = drawn(["a"], ["x" * 60, "y"], [[0, 0]])
    found = [text for text in turned.iter(f"{_SVG}text") if "transform" in text.attrib]
    assert [wide(text.text or "") <= 22 and (text.text or "")[-1] for text in found] == ["…", "y"]


def test_the_picture_has_the_shades_of_the_svg() -> None:
    svg = heat(["a"], ["b", "c"], lambda _, j: Cell(0.6, colour=(BLUE, ORANGE)[j]), ("gold", "said"))
    pixels = imread(io.BytesIO(png(svg)))[..., :3]
    for rect in ElementTree.fromstring(svg).iter(f"{_SVG}rect"):
        x, y = float(rect.attrib["x"]) + 4, float(rect.attrib["y"]) + 4
        opacity = float(rect.attrib["fill-opacity"])
        want = opacity * np.array(to_rgb(rect.attrib["fill"])) + 1 - opacity
        assert pixels[int(2 * y), int(2 * x)] == pytest.approx(want, abs=0.01)


def test_a_turned_name_rises_to_the_right() -> None:
    svg = heat(["a"], ["long name", "b"], lambda i, j: Cell(0.0), ("gold", "said"))
    root = ElementTree.fromstring(svg)
    name = next(text for text in root.iter(f"{_SVG}text") if text.text == "long name")
    x, y = int(2 * float(name.attrib["x"])), int(2 * float(name.attrib["y"]))
    ink = imread(io.BytesIO(png(svg)))[..., :3].max(axis=-1) < 0.5
    beside, above = ink[y - 90 : y - 40, x + 20 : x + 70], ink[y + 2 : y + 12, x : x + 100]
    assert beside.any() and not above.any()


def test_signs_that_the_usual_font_lacks_are_drawn_with_another_that_has_them() -> None:
    assert family("plain é") == "DejaVu Sans"
    assert family("a\u20dd", ("no such font", "STIXGeneral")) == "STIXGeneral"  # both come with matplotlib
    assert family("a\u20dd", ()) == "DejaVu Sans"
