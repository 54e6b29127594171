"""What a person sees in the terminal: progress, tables, errors. Results go to stdout, all else to stderr."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

# In a pipe or a file nobody folds lines: tables may be as wide as they need.
out = Console(highlight=False, soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

LINE_SECONDS = 10  # of progress, where there is no bar


def number(value: Any) -> str:
    """A figure as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) >= 1000):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Iterable[str] | Mapping[str, str] | None = None,
    title: str | None = None,
) -> Table:
    """Rows as a table; figures to the right. `columns` are the rows' keys, or a mapping from keys to headings."""
    names = list(columns or (rows[0].keys() if rows else ()))
    headings = columns if isinstance(columns, Mapping) else {}
    shown = Table(title=title, title_justify="left", header_style="bold")
    for name in names:
        right = any(isinstance(r.get(name), (int, float)) for r in rows)
        shown.add_column(escape(headings.get(name, name)), justify="right" if right else "left", overflow="fold")
    for r in rows:
        shown.add_row(*(escape(number(r.get(name))) for name in names))
    return shown


def note(text: str) -> None:
    """What one should know before believing a figure."""
    err.print(f"note: {text}", markup=False)


def print_json(data: Any) -> None:
    """Data as JSON on stdout; what is not finite becomes null."""
    out.print(json.dumps(_finite(data), indent=2, ensure_ascii=False), markup=False, soft_wrap=True)


def _finite(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(v) for v in data] if isinstance(data, (list, tuple)) else data


class Watch:
    """Listens to a training and shows it: a bar with loss, speed and time left, a line for each evaluation.

    Where stderr is no terminal, the bar is a line every ten seconds.

    Args:
        quiet: shows nothing at all.
        clock: the time in seconds.
    """

    def __init__(self, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.quiet, self.clock = quiet, clock
        self.told = clock()
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[facts]}"),
            console=err, transient=True, disable=quiet or not err.is_terminal,
        )  # fmt: skip
        self.job: Any = None

    def __enter__(self) -> "Watch":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "start":
                sizes = ", ".join(f"{name} {count:,}" for name, count in event["tokens"].items())
                self._line(
                    f"{event['parameters']:,} parameters, vocabulary {event['vocabulary']:,}, tokens: {sizes}; "
                    f"{event['device']}, {event['dtype']}, {event['machine']}"
                )
            case "phase":
                self._end()
                self._line(event["text"])
            case "step" | "baseline_step":
                self._step(event)
            case "evaluate":
                figures = event["metrics"]
                shown = _shown(figures, event["monitor"])
                mark = "  as good as the best" if event.get("equal") else "  best so far" if event["best"] else ""
                self._line(
                    f"epoch {event['epoch']:.2f}, step {event['step']:,}: {shown} {number(figures[shown])} "
                    f"({event['seconds']:.0f} s){mark}"
                )
            case "resume":
                self._line(f"going on at step {event['step']:,}")
            case "interrupt":
                self._end()
                self._line(f"interrupted at step {event['step']:,}: saved")

    def _step(self, event: dict[str, Any]) -> None:
        facts = f"loss {event['loss']:.3f}  {event['tokens_per_s']:,.0f} tokens/s"
        if self.job is None:
            self.job = self.bar.add_task("training", total=event["of"], facts="")
        self.bar.update(self.job, completed=event["step"], total=event["of"], facts=facts)
        now = self.clock()
        if not err.is_terminal and now - self.told >= LINE_SECONDS:
            self.told = now
            left = (event["of"] - event["step"]) / event["step"] * event["seconds"]
            self._line(f"step {event['step']:,}/{event['of']:,}  {facts}  {_span(left)} left")

    def _end(self) -> None:
        self.told = self.clock()
        if self.job is not None:
            self.bar.remove_task(self.job)
            self.job = None

    def _line(self, text: str) -> None:
        if not self.quiet:
            err.print(text, markup=False)


def _shown(figures: Mapping[str, float], monitor: str) -> str:
    """The metric that tells most in one line: of language models, not what they are judged by."""
    if "valid/nats_per_char" in figures:
        return "valid/perplexity" if figures["valid/perplexity"] >= 20 else "valid/nats_per_char"
    return monitor


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
