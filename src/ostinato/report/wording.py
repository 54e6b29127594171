"""How the report says things: numbers, metrics' names, times, and the events of a run in a few facts."""

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .folder import Event, Events
from .page import facts, pre
from .series import is_number, is_share

_SPELT = {"f1": "F1", "bleu": "BLEU", "chrf": "chrF"}


def filename(text: str) -> str:
    """`text` with _ for all that is no letter or digit of English."""
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in text)


def digits(value: Any) -> str:
    """'12,345' for a whole number, four digits for a broken one, a dash for none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) >= 1000):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:#.4g}"


def words(metric: str) -> str:
    """ "test/bits_per_char" as "test bits per char", "test/span_f1" as "test span F1"."""
    return " ".join(_SPELT.get(word, word) for word in metric.replace("/", " ").replace("_", " ").split(" "))


def measured(value: Any, metric: str) -> str:
    """A metric's value: '89.12%' for an accuracy of 0.8912, '33.2' for BLEU, else its digits."""
    metric = metric.removesuffix("_sd")  # a standard deviation has the unit of its metric
    if is_number(value) and is_share(metric) and 0 <= value <= 1:
        return f"{value:.2%}"
    return f"{value:.1f}" if is_number(value) and _of_hundred(metric) else digits(value)


def _of_hundred(metric: str) -> bool:
    return metric.rpartition("/")[2].lower().endswith(("bleu", "chrf"))


def compared(own: float, rival: float, metric: str, lower: bool) -> str:
    """How a model's `own` figure stands to a rival's: "the model is 20.0% better"; from twice on as a factor.

    Figures out of a hundred differ by points: "the model is 4.02 points better".

    Args:
        lower: a lower figure is the better one.
    """
    if own == rival:
        return "the model equals it"
    side = "better" if (own < rival) == lower else "worse"
    name = words(metric.rpartition("/")[2])
    if own > 0 and rival > 0 and max(own, rival) >= 2 * min(own, rival):
        if own > rival:
            return f"the model is {side}, with {own / rival:,.1f} times its {name}"
        return f"the model is {side}: the baseline has {rival / own:,.1f} times its {name}"
    if _of_hundred(metric):
        return f"the model is {abs(own - rival):.1f} points {side}"
    if is_share(metric) and min(own, rival) >= 0 and max(own, rival) <= 1:
        return f"the model is {100 * abs(own - rival):.2f} points {side}"
    share = abs(own - rival) / abs(rival) if rival else math.inf
    # A share of a figure of the other sign says nothing.
    return f"the model is {share:.1%} {side}" if share < 1 else f"the model is {side}"


def duration(seconds: float) -> str:
    """Seconds as '8.4 s', '3 min 20 s' or '5 h 12 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def when(start: Mapping[str, Any]) -> str:
    """The start event's time, to the minute: '2026-03-01 12:30'."""
    time = start.get("time")
    return str(time)[:16].replace("T", " ") if time else "time unknown"


def entries(results: Mapping[str, Any], key: str) -> Sequence[Any]:
    """The list under `key`; [] where there is none."""
    value = results.get(key)
    return value if isinstance(value, list) else []


def verbatim(results: Mapping[str, Any], key: str) -> str:
    """The text under `key` as it stands, as HTML; "" where there is none."""
    value = results.get(key)
    return pre(str(value).rstrip("\n")) if value else ""


def notes(results: Mapping[str, Any]) -> str:
    """The run's own remarks, as an HTML list."""
    items = "".join(f"<li>{escape(str(note))}</li>" for note in entries(results, "notes"))
    return f'<ul class="dim notes">{items}</ul>' if items else ""


def course(events: Events) -> str:
    """The run in facts, as HTML: when, how long, how fast, on what, and how it ended."""
    rows = events.rows
    if not rows:
        return ""
    start = next((row for row in rows if row.get("event") == "start"), {})
    steps = [row for row in rows if row.get("event") == "step"]
    speeds = [float(row["tokens_per_s"]) for row in steps if is_number(row.get("tokens_per_s"))]
    scores = sum(row.get("event") == "evaluate" for row in rows)
    versions = start.get("versions")
    pairs = [
        ("started", when(start)),
        ("training time", _last(steps, "seconds", duration)),
        ("optimiser steps", _last(steps, "step", lambda step: f"{step:,.0f}")),
        ("epochs", _last(steps, "epoch", lambda epoch: f"{epoch:.2f}")),
        ("tokens read", _last(steps, "tokens", lambda tokens: f"{tokens:,.0f}")),
        ("tokens per second", f"{statistics.median(speeds):,.0f}{_median_of(speeds)}" if speeds else ""),
        ("evaluations", str(scores) if scores else ""),
        ("device", " ".join(str(start[key]) for key in ("device", "dtype") if start.get(key))),
        ("machine", str(start.get("machine") or "")),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else ""),
        ("ended", _ending(rows)),
        (
            "unreadable lines",
            f"{events.broken} of events.jsonl, torn when the run was stopped" if events.broken else "",
        ),
    ]
    return facts(pairs)


def _median_of(speeds: Sequence[float]) -> str:
    return f" (median of {len(speeds)} reports)" if speeds[1:] else ""


def _last(steps: Sequence[Event], key: str, say: Any) -> str:
    value = next((row[key] for row in reversed(steps) if is_number(row.get(key))), None)
    return "" if value is None else say(value)


def _ending(rows: Sequence[Event]) -> str:
    kinds = [row.get("event") for row in rows]
    stops, resumes = kinds.count("interrupt"), kinds.count("resume")
    last = next((kind for kind in reversed(kinds) if kind in ("end", "interrupt", "resume")), None)
    stopped = last == "interrupt" or any(row.get("event") == "end" and row.get("interrupted") for row in rows[-1:])
    said = "interrupted" if stopped else "by itself" if last == "end" else "not yet: still running, or killed"
    if resumes:
        said += f"; resumed {resumes} time{'s' * (resumes > 1)}"
    return said + (f", interrupted {stops} time{'s' * (stops > 1)}" if stops and not stopped else "")
