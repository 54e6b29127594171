"""What the shipped recipes reach: trains each from scratch and prints metric, target and seconds.

python -m benchmarks.quality --data FOLDER, where FOLDER holds
    ptb/            ptb.train.txt, ptb.valid.txt, ptb.test.txt (plain or .gz)
    tinyshakespeare/input.txt
    hongloumeng/    hongloumeng.txt (plain or .gz)

Beside the Chinese text's figure stands bzip2's on the same characters. A compressor is quoted per byte and a model per
character; a Chinese character is about three bytes of UTF-8, so the one is converted before the two are compared.
"""

import argparse
import bz2
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ostinato.data.files import read_splits
from ostinato.train.recipe import find, read

from .tables import markdown


class Goal(NamedTuple):
    folder: str  # below the data folder
    metric: str
    target: float | None  # at most; None: bzip2 on the same characters is what to compare with
    minutes: float | None  # of training on two cores
    parameters: int | None  # at most


GOALS = {
    "ptb-small": Goal("ptb", "test/perplexity", 110.0, 45.0, 4_700_000),
    "shakespeare-char": Goal("tinyshakespeare", "test/nats_per_char", 1.44, 10.0, None),
    "hongloumeng-char": Goal("hongloumeng", "test/bits_per_char", None, None, None),
}


class Compressed(NamedTuple):
    """What bzip2 -9 makes of a text."""

    bits_per_byte: float
    bits_per_char: float  # bits per byte * bytes / characters: the same bits, shared among fewer


def bzip2(text: str) -> Compressed:
    """bzip2 -9 on the text's UTF-8 bytes.

    >>> a = bzip2("红楼梦" * 100)
    >>> round(a.bits_per_char / a.bits_per_byte, 6)
    3.0
    """
    raw = text.encode()
    bits = 8 * len(bz2.compress(raw, 9))
    return Compressed(bits / len(raw), bits / len(text))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the folder with the texts")
    parser.add_argument("--recipe", action="append", choices=GOALS, help="one recipe; may be repeated; default all")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where run folders go")
    parser.add_argument(
        "-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for each recipe"
    )
    given = parser.parse_args()
    chosen = given.recipe or list(GOALS)
    if missing := [GOALS[name].folder for name in chosen if not (given.data / GOALS[name].folder).is_dir()]:
        parser.error(f"{given.data} should hold the folders {', '.join(g.folder for g in GOALS.values())}, and has no "
                     f"{' and no '.join(missing)}; name the folder that has them by --data")  # fmt: skip
    table = []
    for name in chosen:
        if name == "hongloumeng-char":
            table += compressors(name, given.data / GOALS[name].folder, given.overrides)
        table += run(name, given.data / GOALS[name].folder, given.runs, given.overrides)
    print(f"\n{markdown(table)}")
    return 0 if all(row["reached"] != "NO" for row in table) else 1


def run(name: str, data: Path, runs: Path, overrides: Sequence[str]) -> list[dict[str, str]]:
    """Trains a recipe through the command line; one row for the model and one for each of its baselines."""
    goal = GOALS[name]
    command = [sys.executable, "-m", "ostinato", "train", name, "--json", "--run", str(_fresh(runs / name)),
               "-o", f"data.path={json.dumps(str(data), ensure_ascii=False)}"]  # fmt: skip
    command += [part for text in overrides for part in ("-o", text)]
    print(f"$ ostinato {' '.join(command[3:])}", flush=True)
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=False)
    whole = time.perf_counter() - began
    if done.returncode:
        return [_row(name, "this recipe", goal.metric, "-", "-", "-", f"exit {done.returncode}", "NO")]
    results: dict[str, Any] = json.loads(done.stdout)
    figures = results["metrics"]
    seconds, parameters = figures["train/seconds"], int(figures["parameters"])
    kept = [figures[goal.metric] <= goal.target] if goal.target is not None else []
    kept += [seconds <= goal.minutes * 60] if goal.minutes is not None else []
    kept += [parameters <= goal.parameters] if goal.parameters is not None else []
    target = "-" if goal.target is None else f"<= {goal.target:g}"
    target += "" if goal.minutes is None else f" in {goal.minutes:g} min"
    reached = ("yes" if all(kept) else "NO") if kept else "-"
    table = results["table"]
    own = table[0]["model"] if table else "this recipe"
    took = f"{seconds:.0f} ({whole:.0f} with baselines)"
    rows = [_row(name, own, goal.metric, f"{figures[goal.metric]:.4g}", target, f"{parameters:,}", took, reached)]
    return rows + [
        _row(name, row["model"], goal.metric, f"{row[goal.metric]:.4g}", "-", f"{row['parameters']:,}", "-", "-")
        for row in table[1:]
    ]


def compressors(name: str, data: Path, overrides: Sequence[str]) -> list[dict[str, str]]:
    """bzip2 on the characters that the recipe's model is tested on, and on the whole text."""
    recipe = read(find(name), overrides).get("data", {})
    splits = read_splits(data, tuple(recipe["fractions"])) if "fractions" in recipe else read_splits(data)
    whole = "".join(splits)
    for part, text in {"the test part": splits.test, "the whole text": whole}.items():
        size = bzip2(text)
        print(
            f"bzip2 -9 on {part}: {size.bits_per_byte:.3f} bits per byte x {len(text.encode()):,} bytes / "
            f"{len(text):,} characters = {size.bits_per_char:.3f} bits per character",
            flush=True,
        )
    return [
        _row(name, f"bzip2 -9 on {part}", "bits_per_char", f"{bzip2(text).bits_per_char:.4g}", "-", "-", "-", "-")
        for part, text in {"the test part": splits.test, "the whole text": whole}.items()
    ]


def _row(*values: str) -> dict[str, str]:
    names = ("recipe", "model", "metric", "value", "target", "parameters", "seconds", "reached")
    return dict(zip(names, values, strict=True))


def _fresh(path: Path) -> Path:
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free


if __name__ == "__main__":
    sys.exit(main())
