"""Events as columns of numbers for the figures."""

import math
from collections.abc import Iterable
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from .folder import Event

Column = NDArray[np.float64]
_MOST_POINTS = 1200  # a figure is about as many pixels wide
_SHARES = ("accuracy", "f1", "precision", "recall")  # fractions, read as per cent
_HIGHER = ("accuracy", "bleu", "chrf", "f1", "precision", "recall", "auc", "r2", "tokens_per_s", "correct")


def is_number(value: Any) -> TypeGuard[int | float]:
    """A finite number; bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def lower_is_better(metric: str) -> bool:
    """Told from the metric's name: all are losses but a few ("test/accuracy", "test/bleu", ...)."""
    name = metric.rpartition("/")[2].lower()
    return name != "mean" and not any(word in name for word in _HIGHER)


def is_share(metric: str) -> bool:
    """Told from the metric's name: a fraction of what there is, "test/slot_f1", or the mean over such of all heads."""
    name = metric.rpartition("/")[2].lower()
    return name == "mean" or name.endswith(_SHARES)


def series(events: Iterable[Event], x: str, y: str) -> tuple[Column, Column]:
    """The columns x and y of the "step" events, x rising; of an x seen twice (a resumed run) the last counts.

    y may hold nan and inf: a diverged run is shown, not hidden. Rows where either is no number are left out.
    """
    found: dict[float, float] = {}
    for event in events:
        if event.get("event") == "step" and is_number(event.get(x)) and isinstance(event.get(y), int | float):
            found[float(event[x])] = float(event[y])
    order = sorted(found)
    return np.array(order, dtype=np.float64), np.array([found[step] for step in order], dtype=np.float64)


def validation(events: Iterable[Event]) -> tuple[dict[float, float], dict[str, dict[float, float]]]:
    """({step: nats per token}, {metric: {step: value}}) of the evaluations.

    Nats come from "nats_per_token", else from "perplexity" as its logarithm; with them the other losses stay out.
    """
    nats: dict[float, float] = {}
    others: dict[str, dict[float, float]] = {}
    for event in sorted(
        (e for e in events if e.get("event") == "evaluate" and is_number(e.get("step"))), key=lambda e: e["step"]
    ):
        metrics = event.get("metrics")
        split = event.get("split", "valid")
        for name, value in (metrics if isinstance(metrics, dict) else {}).items():
            if not is_number(value):
                continue
            others.setdefault(name, {})[event["step"]] = float(value)
            if name == f"{split}/nats_per_token":
                nats[event["step"]] = float(value)
            elif name == f"{split}/perplexity" and value > 0:
                nats.setdefault(event["step"], math.log(value))
    return nats, {name: points for name, points in others.items() if not nats or not lower_is_better(name)}


def smooth(values: Column) -> Column:
    """The mean over a fiftieth of the run around each point; what is not finite is passed over.

    The window is centred and shrinks at both ends, so that a falling curve is not shown late.
    """
    n = len(values)
    half = np.minimum(max(n // 100, 1), np.minimum(np.arange(n), np.arange(n)[::-1]))
    good = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(good, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(good)])
    low, high = np.arange(n) - half, np.arange(n) + half + 1
    seen = counts[high] - counts[low]
    return np.where(seen > 0, (sums[high] - sums[low]) / np.maximum(seen, 1), math.nan)


def thinned(x: Column, y: Column) -> tuple[Column, Column]:
    """Long columns as means of equal blocks."""
    block = -(-len(x) // _MOST_POINTS)
    if block <= 1:
        return x, y
    starts = np.arange(0, len(x), block)
    sizes = np.diff(np.append(starts, len(x)))
    return np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes
