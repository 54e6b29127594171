"""Random steps of a recurrence against the reference loop: `python -m benchmarks fuzz [--programs N] [--seed S]`.

Each step is drawn from the promised vocabulary and run by the derived kernel and by the loop, in float64: output, final
state and every gradient. Most run as emitted source in plain Python, --compiled of them as machine code. What differs,
crashes or hangs is told with the smallest step that still does, and the exit code is 1.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the generator is part of the tests

from random_steps.compare import FAULTS
from random_steps.grammar import case
from random_steps.program import Case
from random_steps.smaller import smallest
from random_steps.workers import Job, Workers

MINIMISED = 3  # of each kind of fault


def main(words: list[str]) -> int:
    """The exit code: 1 where a step is wrong, crashes or hangs."""
    given = arguments(words)
    workers, until = Workers(given.processes, given.limit), time.monotonic() + given.seconds
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], Case] = {}
    broken: list[tuple[Job, tuple[str, str]]] = []
    try:
        for (step, compiled), outcome in workers.outcomes(jobs(given, until)):
            key = outcome.kind, outcome.why
            counts[key] += 1
            examples.setdefault(key, step)
            if outcome.kind in FAULTS and sum(k == key for _, k in broken) < given.minimise:
                broken.append(((step, compiled), key))
                print(f"{outcome.kind}: {outcome.why} (gap {outcome.gap:.1e})\n{step.source}", flush=True)
            if (done := counts.total()) % 100 == 0:
                print(f"{done} steps: {told(counts)}", flush=True)
        print(f"\n{counts.total()} steps: {told(counts)}\n")
        for (kind, why), count in counts.most_common():
            if kind in ("refused", "unstable"):
                print(f"{kind} {count}: {why}\n{examples[kind, why].source}")
        for number, ((step, compiled), key) in enumerate(broken, start=1):
            least = minimised(step, compiled, key, workers)
            print(f"fault {number}, {key[0]}: {key[1]}{', compiled' * compiled}\n{least.source}", flush=True)
    finally:
        workers.close()
    return 1 if broken else 0


def jobs(given: argparse.Namespace, until: float) -> Iterator[Job]:
    """The compiled ones first: they take longest."""
    for number in range(given.programs):
        if time.monotonic() > until:
            return
        yield case(random.Random(f"{given.seed} {number}").randrange, given.axes), number < given.compiled


def minimised(step: Case, compiled: bool, key: tuple[str, str], workers: Workers) -> Case:
    """The smallest step with the same kind of fault; of a crash, with the same message."""

    def breaks(smaller: Case) -> bool:
        outcome = workers.outcome(smaller, compiled)
        return outcome.kind == key[0] and (outcome.kind != "crash" or outcome.why == key[1])

    return smallest(step, breaks, most=100 if compiled else 400)


def told(counts: Counter[tuple[str, str]]) -> str:
    kinds: Counter[str] = Counter()
    for (kind, _), count in counts.items():
        kinds[kind] += count
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz", description=__doc__)
    parser.add_argument("--programs", type=int, default=3000, help="how many steps (default 3000)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same steps (default 0)")
    parser.add_argument("--compiled", type=int, default=100, help="how many of them as machine code (default 100)")
    parser.add_argument("--axes", type=int, choices=(1, 2, 3), default=3, help="of features, at most (default 3)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="draw no more steps after so long")
    parser.add_argument(
        "--limit", type=float, default=60.0, help="seconds of computing for one step, or it hangs (default 60)"
    )
    parser.add_argument("--processes", type=int, default=2, help="side by side (default 2)")
    parser.add_argument("--minimise", type=int, default=MINIMISED, help="faults of a kind made small (default 3)")
    return parser.parse_args(words)
