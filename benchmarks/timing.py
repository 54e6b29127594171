"""Contenders that are timed by turns, because on a shared machine only the ratio of their times means something."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

LEAST = 5  # rounds
TURN = 0.02  # seconds that a turn lasts at least: in a loop of training no run begins with sleeping threads either
MOST = 200
# Threads of a pool go on spinning after their work. Where contenders bring pools of their own, each waits so long.
CALM = 0.01  # seconds


class Race(NamedTuple):
    """The times of each contender, one a round, in milliseconds."""

    times: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Milliseconds."""
        return statistics.median(self.times[name])

    def speed_up(self, ours: str, peer: str) -> tuple[float, float]:
        """(the median over rounds of the peer's time / ours, half the distance between the quartiles of that).

        Both stand in the same round, so what else the machine does at that time hits both.
        """
        ratios = [b / a for a, b in zip(self.times[ours], self.times[peer], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        return middle, (high - low) / 2

    @property
    def rounds(self) -> int:
        return len(next(iter(self.times.values())))


def race(contenders: Mapping[str, Callable[[], object]], seconds: float, pause: float = 0.0) -> Race:
    """All are run twice to warm up, then by turns for about `seconds`, at least 5 rounds; each is first in its turn.

    A turn repeats what is short for 20 ms; its time is the mean.
    """
    for _ in range(2):
        for run in contenders.values():
            run()
    order, times = list(contenders), {name: list[float]() for name in contenders}
    was_on = gc.isenabled()
    gc.disable()
    try:
        end, rounds = time.perf_counter() + seconds, 0
        while rounds < LEAST or (time.perf_counter() < end and rounds < MOST):
            for name in order:
                if pause:
                    time.sleep(pause)
                times[name].append(turn(contenders[name]) * 1e3)
            order.append(order.pop(0))
            rounds += 1
    finally:
        if was_on:
            gc.enable()
    return Race(times)


def turn(run: Callable[[], object]) -> float:
    """Seconds of a run, the mean of a turn."""
    began, runs, passed = time.perf_counter(), 0, 0.0
    while passed < TURN:
        run()
        runs += 1
        passed = time.perf_counter() - began
    return passed / runs
