"""Speed, against the peers that are installed: `python -m benchmarks [aten] [derived] [softmax] [startup] [--write]`.

Every row checks parity first and prints no speed for a wrong answer. Two contenders take turns inside one run, because
on a shared machine only their ratio means something.
"""

import argparse
import sys

import torch

from . import aten, derived, softmax, startup
from .machine import describe, write
from .tables import markdown, show

PARTS = {"aten": aten, "derived": derived, "softmax": softmax, "startup": startup}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all when not given")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for a row, at least 5 rounds (default 3)")
    parser.add_argument("--threads", type=int, help="of torch; its own choice when not given")
    parser.add_argument("--only", help="rows whose shape is this text, such as 35x20x200")
    parser.add_argument("--write", action="store_true", help="also write benchmarks/results/<machine>.md")
    given = parser.parse_args()
    if unknown := [name for name in given.parts if name not in PARTS]:
        parser.error(f"no part is called {unknown[0]!r}; there are: {', '.join(PARTS)}")
    if given.threads:
        torch.set_num_threads(given.threads)
    facts = describe()
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    texts, wrong = [], 0
    for name in given.parts or PARTS:
        print(f"\n{PARTS[name].TITLE}\n", flush=True)
        table = show(PARTS[name].rows(given.seconds, given.only))
        summary = PARTS[name].summary(table)
        print(f"\n{summary}", flush=True)
        wrong += sum("WRONG" in row.values() for row in table)
        texts.append(f"## {PARTS[name].TITLE}\n\n{markdown(table)}\n\n{summary}\n")
    if given.write:
        print(f"\nwritten: {write(facts, texts)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
