"""Speed, against the peers that are installed: `python -m benchmarks [PART]... [--write]`.

Every row checks parity first and prints no speed for a wrong answer. The contenders take turns inside one run, because
on a shared machine only their ratio means something. The speed-up is the peer's time / ours: above 1 ours is faster.
`python -m benchmarks fuzz --help`: random steps, for right numbers instead of speed.
"""

import argparse
import sys
from types import ModuleType

import torch

from . import (
    aten,
    c,
    classifier,
    crf,
    custom,
    footprint,
    language,
    matrix,
    ragged,
    sequence,
    softmax,
    startup,
    stream,
    training,
)  # fmt: skip
from .contest import Asked
from .machine import describe, versions, write
from .tables import markdown, show

PARTS: dict[str, ModuleType] = {
    "aten": aten, "training": training, "custom": custom, "matrix": matrix, "ragged": ragged, "stream": stream,
    "sequence": sequence, "language": language, "footprint": footprint, "softmax": softmax, "startup": startup,
    "crf": crf, "classifier": classifier, "c": c,
}  # fmt: skip
DTYPES = ("float32", "bfloat16")


def main() -> int:
    if sys.argv[1:2] == ["fuzz"]:
        from .fuzz import main as fuzz  # it measures no time, and wants what the tests are made of

        return fuzz(sys.argv[2:])
    given = arguments()
    if given.threads:
        torch.set_num_threads(given.threads)
    facts = describe()
    print("\n".join(f"{name}: {value}" for name, value in (facts | versions()).items()), flush=True)
    measured, wrong = {}, 0
    for name in given.parts or PARTS:
        part = PARTS[name]
        if given.dtype not in dtypes(part):
            print(f"\nskipped: {name} is measured in {' and '.join(dtypes(part))} only", flush=True)
            continue
        print(f"\n{title(part, given.dtype)}\n", flush=True)
        table = show(part.rows(Asked(given.seconds, given.only, given.dtype)))
        summary = part.summary(table)
        print(f"\n{summary}", flush=True)
        wrong += sum(value.endswith("WRONG") for row in table for value in row.values())
        lines = "\n".join(f"* {line}" for line in summary.splitlines())
        measured[title(part, given.dtype)] = f"{markdown(table)}\n\n{lines}\n"
    if given.write:
        known = [title(part, dtype) for part in PARTS.values() for dtype in dtypes(part)]
        print(f"\nwritten: {write(facts, measured, known)}")
    return 1 if wrong else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; all when not given")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for a row, at least 5 rounds (default 3)")
    parser.add_argument("--threads", type=int, help="of torch and of the peers; torch's own choice when not given")
    parser.add_argument(
        "--only", metavar="SHAPES", help="rows of these only: 35x20x200,100x32x128, or 64,128 where H is all"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="bfloat16: under autocast, where a part can")
    parser.add_argument(
        "--write", action="store_true",
        help="also write benchmarks/results/<machine>.md; parts that were not run keep what stands there",
    )  # fmt: skip
    given = parser.parse_args()
    if unknown := [name for name in given.parts if name not in PARTS]:
        parser.error(f"no part is called {unknown[0]!r}; there are: {', '.join(PARTS)}")
    if given.write and given.only:
        parser.error("--write keeps whole tables, and --only leaves rows out; give one of them")
    return given


def dtypes(part: ModuleType) -> tuple[str, ...]:
    return getattr(part, "DTYPES", DTYPES[:1])


def title(part: ModuleType, dtype: str) -> str:
    return part.TITLE if dtype == "float32" else f"{part.TITLE}, {dtype}"


if __name__ == "__main__":
    sys.exit(main())
