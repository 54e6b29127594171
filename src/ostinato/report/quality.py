"""Two figures of what a model's answers are worth: how far it can be trusted, and what long inputs cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .canvas import BLUE, GREEN, GREY, ORANGE, printable, style
from .series import is_number, is_share
from .wording import measured, words

_WIDTH = 5.4  # inches, as the other figures
_MARKS = ("o", "s", "^", "D", "v", "P")


def calibration_curve(found: Mapping[str, Any]) -> Figure:
    """How often the model was right against how sure it was, above how many answers there were of each sureness.

    Args:
        found: "confidence", "accuracy" (a number for each bin, or None) and "counts".
    """
    bins = [
        (sure, right, count)
        for sure, right, count in zip(found["confidence"], found["accuracy"], found["counts"], strict=True)
        if is_number(sure) and is_number(right)
    ]
    n = max(len(found["counts"]), 1)
    with style():
        figure = Figure(figsize=(_WIDTH, 4.2), layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=(3, 1))
        top = figure.add_subplot(grid[0])
        low = figure.add_subplot(grid[1], sharex=top)
        top.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle="--", label="as sure as right")
        top.plot([b[0] for b in bins], [b[1] for b in bins], color=BLUE, marker="o", markersize=5, label="this model")
        top.set_ylabel("share that was right")
        top.set_ylim(-0.03, 1.03)
        top.set_xlim(-0.01, 1.01)
        top.tick_params(labelbottom=False)
        top.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, fontsize=9, ncols=2)
        low.bar((np.arange(n) + 0.5) / n, found["counts"], width=0.9 / n, color=BLUE)
        low.set_ylabel("answers")
        low.set_xlabel("how sure the model was (probability)")
        for axis in (top.xaxis, top.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0))
    return figure


def quality_by_length(found: Mapping[str, Any]) -> Figure:
    """One line for each model: its metric on rows of a length.

    Args:
        found: "unit", "metric" and "rows" of {"from", "to", "count", "values": {model: value}}.
    """
    rows: Sequence[Mapping[str, Any]] = found["rows"]
    metric = str(found.get("metric", ""))
    models = list(dict.fromkeys(name for row in rows for name in row["values"]))
    every = [value for row in rows for value in row["values"].values() if is_number(value)]
    with style():
        figure = Figure(figsize=(_WIDTH, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for i, name in enumerate(models):
            points = [(x, row["values"].get(name)) for x, row in enumerate(rows)]
            points = [(x, value) for x, value in points if is_number(value)]
            colour = (BLUE, ORANGE, GREEN, GREY)[i % 4]
            axes.plot(*zip(*points, strict=True) if points else ([], []), color=colour, marker=_MARKS[i % 6],
                      markersize=5, label=printable(name))  # fmt: skip
        axes.set_xticks(range(len(rows)), [f"{_span(row)}\n{row['count']:,}" for row in rows], fontsize=9)
        axes.set_xlabel(f"{printable(str(found.get('unit', 'length')))}, and below how many rows have so many")
        axes.set_ylabel(printable(words(metric)))
        if is_share(metric) and every and 0 <= min(every) <= max(every) <= 1:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(bottom=min(0, *every) if every else 0)
        if models:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, fontsize=9, ncols=2)
    return figure


def length_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The same numbers: names of models, and a row for each length."""
    models = list(dict.fromkeys(name for row in found["rows"] for name in row["values"]))
    metric = str(found.get("metric", ""))
    rows = [
        [_span(row), f"{row['count']:,}", *(measured(row["values"].get(name), metric) for name in models)]
        for row in found["rows"]
    ]
    return models, rows


def _span(row: Mapping[str, Any]) -> str:
    low, high = row.get("from"), row.get("to")
    return f"{low}+" if high is None else str(low) if low == high else f"{low}–{high}"
