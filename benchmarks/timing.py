"""Two contenders, timed by turns."""

import gc
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

LEAST = 5  # rounds
MOST = 200


class Duel(NamedTuple):
    """Times of two contenders that took turns.

    The ratio is the median over rounds of ours / theirs: both stand in the same round, so what else the machine does
    at that time hits both. The spread is half the distance between the quartiles of that ratio.
    """

    ours: float  # median, milliseconds
    theirs: float  # median, milliseconds
    ratio: float
    spread: float
    rounds: int


def duel(ours: Callable[[], object], theirs: Callable[[], object], seconds: float) -> Duel:
    """Both are run twice to warm up, then by turns for about `seconds`, at least 5 rounds, each first every second."""
    pair = (ours, theirs)
    for _ in range(2):
        for run in pair:
            run()
    times: tuple[list[float], list[float]] = ([], [])
    was_on = gc.isenabled()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        while len(times[0]) < LEAST or (time.perf_counter() < end and len(times[0]) < MOST):
            for side in (0, 1) if len(times[0]) % 2 == 0 else (1, 0):
                began = time.perf_counter()
                pair[side]()
                times[side].append((time.perf_counter() - began) * 1e3)
    finally:
        if was_on:
            gc.enable()
    ratios = [a / b for a, b in zip(*times, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    ours_ms, theirs_ms = (statistics.median(side) for side in times)
    return Duel(ours_ms, theirs_ms, statistics.median(ratios), (high - low) / 2, len(ratios))
