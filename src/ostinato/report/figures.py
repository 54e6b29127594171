"""The figures of a run, drawn with matplotlib's objects alone: no pyplot, no window, no state between two figures.

Ink is one colour that nothing else has, so that a page may turn it into its own (`adapted`).
"""

import hashlib
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .folder import Event, write_whole

INK = "#1c2530"
BLUE, ORANGE, GREEN, GREY = "#3b82f6", "#e8710a", "#2f9e5b", "#8a94a3"
_MOST_POINTS = 1200  # more steps than this are averaged in equal blocks
_STYLE = {
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
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "ostinato",
    "path.simplify": True,
}


def learning_curves(events: Iterable[Event]) -> Figure:
    """Loss in nats per token over the optimiser's steps: training, and validation where its metrics tell it.

    The right axis reads the same curve as perplexity, e^loss. Validation metrics that cannot be written in nats per
    token stand in a panel of their own below. Of a step seen twice (a resumed run) the last counts.
    """
    events = list(events)
    steps, losses = _series(events, "step", "loss")
    valid, others = _validation(events)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4.2 if not others else 6.4), layout="constrained")
        axes = [figure.add_subplot(2 if others else 1, 1, 1)]
        top = axes[0]
        if steps.size:
            top.plot(*_thinned(steps, losses), color=BLUE, alpha=0.35, linewidth=0.9)
            top.plot(*_thinned(steps, _smooth(losses)), color=BLUE, linewidth=1.8, label="training (smoothed)")
        if valid:
            best = min(valid.items(), key=lambda item: item[1])
            top.plot(*_columns(valid), color=ORANGE, marker="o", markersize=4, linewidth=1.6, label="validation")
            top.annotate(
                f"best {best[1]:.3f}",
                best,
                xytext=(0, -14),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                annotation_clip=False,
            )
        top.set_ylabel("loss [nats per token]")
        shown = np.concatenate([losses, np.array(list(valid.values()))])
        _finish(top, bool(np.isfinite(shown).any()))
        right = top.twinx()
        right.grid(False)
        right.set_ylim(top.get_ylim())
        right.yaxis.set_major_formatter(FuncFormatter(lambda nats, _: _short(math.exp(min(nats, 700.0)))))
        right.set_ylabel("perplexity")
        if others:
            axes.append(figure.add_subplot(2, 1, 2, sharex=top))
            for colour, (name, points) in zip((GREEN, ORANGE, BLUE), list(others.items())[:3], strict=False):
                axes[1].plot(*_columns(points), color=colour, marker="o", markersize=4, label=printable(name))
            _finish(axes[1], True)
        axes[-1].set_xlabel("optimiser step")
    return figure


def gradient_norms(events: Iterable[Event]) -> Figure:
    """The gradient's norm before clipping, on a logarithmic axis, above the learning rate.

    Norms that are not finite are marked at the top; a zero has no logarithm and is left out.
    """
    events = list(events)
    steps, norms = _series(events, "step", "grad_norm")
    lr_steps, lr = _series(events, "step", "lr")
    good = np.isfinite(norms) & (norms > 0)
    bad = ~np.isfinite(norms)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=(3, 1))
        top, low = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
        if good.any():
            top.set_yscale("log")
            top.plot(steps[good], norms[good], color=BLUE, linewidth=0.9, alpha=0.8, label="gradient norm")
            median = float(np.median(norms[good]))
            top.axhline(median, color=ORANGE, linewidth=1.2, linestyle="--", label=f"median {median:.3g}")
        if bad.any():
            label = f"{int(bad.sum())} not finite"
            top.plot(
                steps[bad], np.ones(bad.sum()), "v", color=ORANGE, transform=top.get_xaxis_transform(), label=label
            )
        top.set_ylabel("gradient norm")
        top.tick_params(labelbottom=False)
        _finish(top, bool(good.any()))
        if lr_steps.size:
            low.plot(lr_steps, lr, color=GREEN, linewidth=1.4)
            low.set_ylim(bottom=0)
            if steps.size:
                low.set_xlim(top.get_xlim())
        low.set_ylabel("learning rate")
        low.set_xlabel("optimiser step")
        low.yaxis.set_major_locator(MaxNLocator(3))
    return figure


def baseline_bars(table: Sequence[dict[str, Any]], metric: str) -> Figure:
    """Models (blue) and baselines (grey) by `metric`, best on top. Rows without the metric are left out."""
    rows = [(row, float(row[metric])) for row in table if is_number(row.get(metric))]
    rows.sort(key=lambda item: item[1], reverse=not lower_is_better(metric))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8, 1.1 + 0.36 * max(len(rows), 1)), layout="constrained")
        axes = figure.add_subplot()
        names = [printable(str(row.get("model", "?")))[:40] for row, _ in rows]
        colours = [GREY if row.get("kind") == "baseline" else BLUE for row, _ in rows]
        values = [value for _, value in rows]
        bars = axes.barh(range(len(rows)), values, color=colours, height=0.66)
        axes.bar_label(bars, [f"{value:.4g}" for value in values], padding=4, fontsize=9)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.margins(x=0.12)
        axes.set_xlabel(f"{printable(metric)}  ({'lower' if lower_is_better(metric) else 'higher'} is better)")
        if not rows:
            _finish(axes, False)
    return figure


def activation_gradients() -> Figure:
    """Six activations with their derivatives, by autograd, and the derivative's largest value.

    A gradient through time is multiplied by such a derivative at every step: at most 0.25 with sigmoid, 1 with tanh.
    """
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "leaky_relu": torch.nn.functional.leaky_relu,
        "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
    }
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 5), layout="constrained")
        for i, (name, function) in enumerate(functions.items()):
            x = torch.linspace(-5, 5, 1001, dtype=torch.float64, requires_grad=True)
            y = function(x)
            (slope,) = torch.autograd.grad(y.sum(), x)
            axes = figure.add_subplot(2, 3, i + 1)
            axes.plot(x.detach().numpy(), y.detach().numpy(), color=BLUE, linewidth=1.8, label="value")
            axes.plot(x.detach().numpy(), slope.numpy(), color=ORANGE, linewidth=1.6, linestyle="--", label="derivative")
            axes.set_ylim(-1.3, 2.3)
            axes.set_title(f"{name}: derivative at most {slope.max().item():.3g}")
            if i == 0:
                axes.legend(loc="upper left", fontsize=9)
    return figure


def save(figure: Figure, folder: Path, name: str) -> str:
    """Writes name.png (150 dpi) and name.svg into `folder`, each whole or not at all, and gives the SVG's text.

    The same figure gives the same bytes: no date, no random ids.
    """
    png, svg = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    write_whole(folder / f"{name}.png", png.getvalue())
    write_whole(folder / f"{name}.svg", svg.getvalue())
    return svg.getvalue().decode()
