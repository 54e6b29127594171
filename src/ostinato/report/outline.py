"""Outlines as SVG writes them, as matplotlib's paths: the letters of a "d" and the box with round corners."""

import re
from typing import Any

from matplotlib.path import Path

_NUMBER = r"-?\d*\.?\d+(?:e[+-]?\d+)?"
_PULL = 1 - 4 / 3 * (2**0.5 - 1)  # from the corner to a control point, in radii
Point = tuple[float, float]


def outline(d: str) -> tuple[list[Point], list[Any]]:
    """Points and matplotlib's codes of a path's "d". Further pairs after M are lines, as in SVG.

    Raises:
        ValueError: a letter other than M L H V h v q z, or not as many numbers as it takes.
    """
    points: list[Point] = []
    codes: list[Any] = []
    x = y = 0.0
    for letter, rest in re.findall(r"([A-Za-df-z])([^A-Za-df-z]*)", d):  # an e is of a number
        numbers = [float(number) for number in re.findall(_NUMBER, rest)]
        match letter, numbers:
            case "M" | "L", [_, _, *more] if len(more) % 2 == 0:
                new = list(zip(numbers[::2], numbers[1::2], strict=True))
                code = [Path.MOVETO if letter == "M" else Path.LINETO] + [Path.LINETO] * (len(new) - 1)
            case "H" | "h", [along]:
                new, code = [(along if letter == "H" else x + along, y)], [Path.LINETO]
            case "V" | "v", [along]:
                new, code = [(x, along if letter == "V" else y + along)], [Path.LINETO]
            case "q", [x1, y1, x2, y2]:
                new, code = [(x + x1, y + y1), (x + x2, y + y2)], [Path.CURVE3, Path.CURVE3]
            case "z", []:
                new, code = [(x, y)], [Path.CLOSEPOLY]
            case _:
                raise ValueError(f"a path of M L H V h v q z was expected, and {letter + rest!r} came; draw it here")
        points += new
        codes += code
        x, y = points[-1]
    return points, codes


def rounded(x: float, y: float, width: float, height: float, radius: float) -> Path:
    """A box whose corners are quarters of a circle, to 0.03 % of the radius (one cubic curve each)."""
    points: list[Point] = []
    corners = ((x, y, 1, 0), (x + width, y, 0, 1), (x + width, y + height, -1, 0), (x, y + height, 0, -1))
    for corner_x, corner_y, along_x, along_y in corners:  # clockwise; along: the way on from the corner
        for way in (radius, _PULL * radius):
            points.append((corner_x - along_y * way, corner_y + along_x * way))
        for way in (_PULL * radius, radius):
            points.append((corner_x + along_x * way, corner_y + along_y * way))
    codes = [Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4] * 4
    return Path([*points, points[0]], [Path.MOVETO, *codes[1:], Path.CLOSEPOLY])
