"""The four figures of a run: curves, gradients, baselines, activations.

Drawn with matplotlib's objects alone: no pyplot, no window, no state between two figures.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from .canvas import BLUE, GREEN, GREY, ORANGE, printable, save, style
from .folder import Event
from .series import is_number, is_share, lower_is_better, series, smooth, thinned, validation
from .wording import measured, words

__all__ = ["activation_gradients", "baseline_bars", "gradient_norms", "learning_curves", "save"]

_DETAILS = ("precision", "recall", "macro_f1", "sentence_accuracy", "subset_accuracy")
_WIDTH = 5.4  # inches: its letters can still be read when the whole is as wide as a phone


def learning_curves(events: Iterable[Event]) -> Figure:
    """The loss over the optimiser's steps: training, and validation where its metrics tell it in nats per token.

    The right axis then reads the same curve as perplexity, e^loss. Validation metrics that cannot be written in nats
    per token stand in a panel of their own below. Of a step seen twice (a resumed run) the last counts.
    """
    events = list(events)
    steps, losses = series(events, "step", "loss")
    valid, others = validation(events)
    with style():
        figure = Figure(figsize=(_WIDTH, 3.6 if not others else 5.8), layout="constrained")
        axes = [figure.add_subplot(2 if others else 1, 1, 1)]
        top = axes[0]
        if steps.size:
            top.plot(*thinned(steps, losses), color=BLUE, alpha=0.35, linewidth=0.9)
            top.plot(*thinned(steps, smooth(losses)), color=BLUE, linewidth=1.8, label="training (smoothed)")
        if valid:
            step, nats = min(valid.items(), key=lambda item: item[1])
            label = f"validation, best {nats:.3f} at step {step:,.0f}"
            top.plot(*_columns(valid), color=ORANGE, marker="o", markersize=4, linewidth=1.6, label=label)
        per_token = bool(valid) or not others
        top.set_ylabel("loss [nats per token]" if per_token else "training loss")
        shown = np.concatenate([losses, np.array(list(valid.values()))])
        _finish(top, bool(np.isfinite(shown).any()))
        if per_token:
            right = top.twinx()
            right.grid(False)
            right.set_ylim(top.get_ylim())
            right.yaxis.set_major_formatter(FuncFormatter(lambda nats, _: _short(math.exp(min(nats, 700.0)))))
            right.set_ylabel("perplexity")
        if others:
            axes.append(figure.add_subplot(2, 1, 2, sharex=top))
            _metrics(axes[1], others)
        axes[-1].set_xlabel("optimiser step")
        axes[-1].xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return figure


def _metrics(axes: Axes, others: dict[str, dict[float, float]]) -> None:
    """Up to four validation metrics; those that only explain another one come last."""
    chosen = sorted(others, key=lambda name: name.endswith(_DETAILS))[:4]
    for colour, name in zip((GREEN, ORANGE, BLUE, GREY), chosen, strict=False):
        points = others[name]
        step, best = (min if lower_is_better(name) else max)(points.items(), key=lambda item: item[1])
        label = f"{printable(words(name))}, best {measured(best, name)} at step {step:,.0f}"
        axes.plot(*_columns(points), color=colour, marker="o", markersize=4, label=label)
    if all(map(is_share, chosen)):
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _finish(axes, True)


def gradient_norms(events: Iterable[Event]) -> Figure:
    """The gradient's norm before clipping, on a logarithmic axis, above the learning rate.

    Norms that are not finite are marked at the top; a zero has no logarithm and is left out.
    """
    events = list(events)
    steps, norms = series(events, "step", "grad_norm")
    lr_steps, lr = series(events, "step", "lr")
    good = np.isfinite(norms) & (norms > 0)
    bad = ~np.isfinite(norms)
    with style():
        figure = Figure(figsize=(_WIDTH, 4.2), layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=(3, 1))
        top, low = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
        if good.any():
            top.set_yscale("log")
            # Norms often stay within one power of ten, where powers alone would leave the axis bare.
            close = norms[good].max() < 4 * norms[good].min()
            top.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 7, 8) if close else (1, 2, 5)))
            top.yaxis.set_major_formatter(FuncFormatter(lambda norm, _: f"{norm:g}"))
            top.yaxis.set_minor_formatter(NullFormatter())
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
        low.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        low.yaxis.set_major_locator(MaxNLocator(3))
    return figure


def baseline_bars(table: Sequence[dict[str, Any]], metric: str) -> Figure:
    """Models (blue) and baselines (grey) by `metric`, best on top. Rows without the metric are left out."""
    rows = [(row, float(row[metric])) for row in table if is_number(row.get(metric))]
    rows.sort(key=lambda item: item[1], reverse=not lower_is_better(metric))
    with style():
        figure = Figure(figsize=(_WIDTH, 1.0 + 0.36 * max(len(rows), 1)), layout="constrained")
        axes = figure.add_subplot()
        # What tells two models apart often stands at the end of their names.
        names = [wrap(printable(str(row.get("model", "?"))), 28, max_lines=2, placeholder=" ...") for row, _ in rows]
        colours = [GREY if row.get("kind") == "baseline" else BLUE for row, _ in rows]
        values = [value for _, value in rows]
        bars = axes.barh(range(len(rows)), values, color=colours, height=0.66)
        axes.bar_label(bars, [measured(value, metric) for value in values], padding=4, fontsize=9)
        axes.set_yticks(range(len(rows)), ["\n".join(name) for name in names])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.margins(x=0.14)
        better = "lower" if lower_is_better(metric) else "higher"
        axes.set_xlabel(f"{printable(words(metric))} ({better} is better)", loc="right")  # long names leave few inches
        if is_share(metric) and all(0 <= value <= 1 for value in values):
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
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
    with style():
        figure = Figure(figsize=(9, 5), layout="constrained")
        for i, (name, function) in enumerate(functions.items()):
            x = torch.linspace(-5, 5, 1001, dtype=torch.float64, requires_grad=True)
            y = function(x)
            (slope,) = torch.autograd.grad(y.sum(), x)
            axes = figure.add_subplot(2, 3, i + 1)
            axes.plot(x.detach().numpy(), y.detach().numpy(), color=BLUE, linewidth=1.8, label="value")
            axes.plot(
                x.detach().numpy(), slope.numpy(), color=ORANGE, linewidth=1.6, linestyle="--", label="derivative"
            )
            axes.set_ylim(-1.3, 2.3)
            axes.set_title(f"{name}: derivative at most {slope.max().item():.3g}")
            if i == 0:
                axes.legend(loc="upper left", fontsize=9)
    return figure


def _columns(points: dict[float, float]) -> tuple[list[float], list[float]]:
    return list(points), list(points.values())


def _finish(axes: Axes, drawn: bool) -> None:
    """The legend, above the axes so that it hides no curve, or a word where there is nothing to show."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, fontsize=9)
    if not drawn:
        axes.text(0.5, 0.5, "nothing recorded", ha="center", va="center", transform=axes.transAxes)
        axes.set_yticks([])


def _short(value: float) -> str:
    """A tick's label: 3 digits, then powers of ten."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}" if value < 1e5 else f"{value:.1e}"
