"""How long `ostinato --help` takes, from the shell's point of view."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from .contest import Asked
from .tables import Row

TITLE = "Start of the command line"
RUNS = 7
GOAL = 1.0  # seconds
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "ostinato --help": [sys.executable, "-m", "ostinato", "--help"],
}


def rows(asked: Asked) -> Iterator[Row]:
    for name, command in CASES.items():
        times = []
        for _ in range(RUNS + 1):
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            times.append(time.perf_counter() - began)
            if done.returncode or ("--help" in command and "train" not in done.stdout):
                yield {"command": name, "median s": "-", "spread s": "-", "runs": "WRONG"}
                break
        else:
            # The first one reads the files from the disk.
            low, _, high = statistics.quantiles(times[1:], n=4)
            yield {"command": name, "median s": f"{statistics.median(times[1:]):.3f}",
                   "spread s": f"±{(high - low) / 2:.3f}", "runs": str(RUNS)}  # fmt: skip


def summary(table: Sequence[Row]) -> str:
    return f"The goal for `ostinato --help` is less than {GOAL:.0f} s."
