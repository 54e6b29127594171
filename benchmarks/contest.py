"""Rows of a table: ours against each peer, parity first, and no speed for a wrong answer.

One convention everywhere: the speed-up is the peer's time divided by ours, so above 1 ours is faster.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from .tables import Row
from .timing import Race, race

CONVENTION = "The speed-up is the peer's time / ours, median over rounds: above 1 ours is faster."
BEST = "best peer"


class Asked(NamedTuple):
    """What the command line asks of a part."""

    seconds: float  # for a row
    only: str | None = None  # the shapes to run, with commas between; None: all
    dtype: str = "float32"

    def wants(self, shape: Sequence[int] | str) -> bool:
        return self.only is None or label(shape) in self.only.split(",")


class Contender(NamedTuple):
    name: str
    run: Callable[[], Any]  # what is timed
    result: Callable[[], Sequence[Tensor]]  # what is compared, from the same computation


class Unit(NamedTuple):
    name: str = "ms"
    per_ms: float = 1.0  # how many of it are a millisecond of the run that is timed


MS = Unit()


def contest(
    head: Row, ours: Contender, peers: Sequence[Contender], exact: Sequence[Tensor], seconds: float, *,
    tolerance: float, path: str, unit: Unit = MS, pause: float = 0.0, beside: Sequence[Contender] = (),
    more: Callable[[Race], Mapping[str, str]] = lambda won: {},
) -> Iterator[Row]:  # fmt: skip
    """A row for each peer; all are timed in the same rounds.

    Args:
        exact: the right answer, in float64; errors are relative to the largest value of what is compared.
        path: the backend that ran ours, by `explain`.
        beside: timed in the same rounds without a row, for `more`.
        more: columns of one's own, from the times by name.
    """
    mine = distance(ours.result(), exact)
    errors = {peer.name: distance(peer.result(), exact) for peer in peers}
    right = [peer for peer in peers if errors[peer.name] <= tolerance]
    won = race({c.name: c.run for c in (ours, *right, *beside)}, seconds, pause) if mine <= tolerance else None
    blank = dict.fromkeys((f"ours {unit.name}", f"peer {unit.name}", "speed-up", "spread", "rounds", "path"), "-")
    extra = dict(more(won)) if won else {}
    for name, error in errors.items():
        row = {**head, "peer": name, "error ours": f"{mine:.0e}", "error peer": f"{error:.0e}"}
        if won is None or name not in won.times:
            yield row | blank | {"path": "peer WRONG" if won else "WRONG"} | dict.fromkeys(extra, "-")
            continue
        ratio, spread = won.speed_up(ours.name, name)
        times = [f"{won.median(which) * unit.per_ms:.4g}" for which in (ours.name, name)]
        figures = (*times, f"{ratio:.3f}", f"±{spread:.3f}", str(won.rounds), path)
        yield row | dict(zip(blank, figures, strict=True)) | extra


def distance(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest value of each tensor; NaN counts as infinite."""
    pairs = [(g.detach().double(), w.detach().double()) for g, w in zip(got, want, strict=True)]
    found = [float((g - w).abs().max() / w.abs().max().clamp(min=1e-30)) for g, w in pairs]
    return math.inf if any(map(math.isnan, found)) else max(found)


def label(shape: Sequence[int] | str) -> str:
    """35x20x200"""
    return shape if isinstance(shape, str) else "x".join(map(str, shape))


def speed_ups(table: Sequence[Row], best_too: bool = True) -> dict[tuple[str, str], list[float]]:
    """The speed-ups of (cell, peer), one a shape; with best_too against the best peer of each as well."""
    found: dict[tuple[str, str], list[float]] = {}
    best: dict[tuple[str, ...], float] = {}
    for row in table:
        if row.get("speed-up", "-") == "-":
            continue
        ratio = float(row["speed-up"])
        found.setdefault((row["cell"], row["peer"]), []).append(ratio)
        shape = (row["cell"], *list(row.values())[1 : list(row).index("peer")])
        if not row["peer"].startswith("our"):  # ours in another dtype, or step by step, is no peer
            best[shape] = min(best.get(shape, math.inf), ratio)
    if best_too and len({peer for _, peer in found if not peer.startswith("our")}) > 1:
        for shape, ratio in best.items():
            found.setdefault((shape[0], BEST), []).append(ratio)
    return found


def means(
    table: Sequence[Row], goals: Mapping[tuple[str, str], float] | None = None, best_too: bool = True
) -> list[str]:
    """The geometric mean of each cell against each peer, with its goal beside it."""
    lines = []
    for (cell, peer), ratios in speed_ups(table, best_too).items():
        mean = geometric(ratios)
        goal = (goals or {}).get((cell, peer))
        beside = "" if goal is None else f"; goal {goal:g}: {'met' if mean >= goal else 'missed'}"
        over = f"geometric mean {mean:.2f} of {len(ratios)}, lowest {min(ratios):.2f}"
        lines.append(f"{cell} against {peer}: {over}{beside}")
    return lines


def geometric(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))
