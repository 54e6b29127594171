"""What the shipped recipes reach: trains each from scratch and prints metrics, targets and seconds.

python -m benchmarks.quality --data FOLDER [--recipe NAME ...] [--seeds 1 2 3], where FOLDER holds
    ptb/            ptb.train.txt, ptb.valid.txt, ptb.test.txt (plain or .gz)
    tinyshakespeare/input.txt
    hongloumeng/    hongloumeng.txt (plain or .gz)
and for the text tasks imdb/, mr/, trec/, sst/, chnsenticorp/, waimai_10k/, ud-english-ewt/, ud-chinese-gsd/,
conll2003/, resume-ner/, msra-ner/, wnut17/, atis/, multi30k-en-de/ and tatoeba-en-zh/: `ostinato recipes` says what
each holds. A recipe with several metrics has a row for each.

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
    metrics: dict[str, float | None]  # metric -> what it should reach; None: it is shown and has no target
    minutes: float | None = None  # of training on two cores
    parameters: int | None = None  # at most


GOALS = {
    "ptb-small": Goal("ptb", {"test/perplexity": 110.0}, 45.0, 4_700_000),
    "shakespeare-char": Goal("tinyshakespeare", {"test/nats_per_char": 1.44}, 10.0),
    "hongloumeng-char": Goal("hongloumeng", {"test/bits_per_char": None}),
    "imdb": Goal("imdb", {"test/accuracy": 0.89}, 20.0),
    "imdb-pretrained": Goal("imdb", {"test/accuracy": 0.91}, 90.0),
    "mr": Goal("mr", {"test/accuracy": 0.76}),
    "trec": Goal("trec", {"test/accuracy": 0.90}),
    "sst2": Goal("sst", {"test/accuracy": 0.82}),
    "chnsenticorp": Goal("chnsenticorp", {"test/accuracy": 0.90}),
    "waimai": Goal("waimai_10k", {"test/accuracy": None}),
    "ewt-pos": Goal("ud-english-ewt", {"test/token_accuracy": 0.94}, 15.0),
    "gsd-zh-pos": Goal("ud-chinese-gsd", {"test/token_accuracy": 0.90}),
    "conll03-ner": Goal("conll2003", {"test/span_f1": 0.83}),
    "resume-ner": Goal("resume-ner", {"test/span_f1": 0.935}),
    "msra-ner": Goal("msra-ner", {"test/span_f1": None}),
    "wnut17-ner": Goal("wnut17", {"test/span_f1": None}),
    "atis": Goal("atis", {"test/slot_f1": 0.95, "test/intent_accuracy": 0.95}),
    "multi30k-de-en": Goal("multi30k-en-de", {"test/bleu": 32.0, "test/chrf": None}, 180.0),
    "multi30k-en-de": Goal("multi30k-en-de", {"test/bleu": 31.0, "test/chrf": None}, 180.0),
    "tatoeba-zh-en": Goal("tatoeba-en-zh", {"test/bleu": None, "test/chrf": None}),
}
LOWER = ("perplexity", "nats_per_char", "bits_per_char")  # metrics that should be small


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
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="one run for each; else the recipe's own")
    given = parser.parse_args()
    chosen = given.recipe or list(GOALS)
    if missing := [GOALS[name].folder for name in chosen if not (given.data / GOALS[name].folder).is_dir()]:
        parser.error(f"{given.data} should hold the folders {', '.join(g.folder for g in GOALS.values())}, and has no "
                     f"{' and no '.join(missing)}; name the folder that has them by --data")  # fmt: skip
    table = []
    for name in chosen:
        if name == "hongloumeng-char":
            table += compressors(name, given.data / GOALS[name].folder, given.overrides)
        for seed in given.seeds or [None]:
            chosen_seed = [] if seed is None else [f"seed={seed}"]
            table += run(name, given.data / GOALS[name].folder, given.runs, [*given.overrides, *chosen_seed])
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
        return [_row(name, "this recipe", next(iter(goal.metrics)), "-", "-", "-", f"exit {done.returncode}", "NO")]
    results: dict[str, Any] = json.loads(done.stdout)
    return [row for metric, target in goal.metrics.items() for row in _rows(name, goal, metric, target, results, whole)]


def _rows(
    name: str, goal: Goal, metric: str, target: float | None, results: dict[str, Any], whole: float
) -> list[dict[str, str]]:
    """One row for the model, one for each of its baselines."""
    figures, table = results["metrics"], results["table"]
    value, seconds, parameters = figures[metric], figures["train/seconds"], int(figures["parameters"])
    lower = metric.rpartition("/")[2] in LOWER
    kept = [] if target is None else [value <= target if lower else value >= target]
    kept += [seconds <= goal.minutes * 60] if goal.minutes is not None else []
    kept += [parameters <= goal.parameters] if goal.parameters is not None else []
    wanted = "-" if target is None else f"{'<=' if lower else '>='} {target:g}"
    wanted += "" if goal.minutes is None else f" in {goal.minutes:g} min"
    reached = ("yes" if all(kept) else "NO") if kept else "-"
    own = table[0]["model"] if table else "this recipe"
    took = f"{seconds:.0f} ({whole:.0f} with baselines)"
    rows = [_row(name, own, metric, f"{value:.4g}", wanted, f"{parameters:,}", took, reached)]
    return rows + [
        _row(name, row["model"], metric, f"{row[metric]:.4g}", "-", f"{row['parameters']:,}", "-", "-")
        for row in table[1:]
        if row.get(metric) is not None
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
