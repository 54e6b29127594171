"""One step, batch 1, in C: what `ostinato.export` writes, compiled here, against a session called from Python."""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ostinato.export import c_source
from ostinato.stream import Session

from .contest import CONVENTION, Asked, Contender, Unit, contest
from .tables import Row
from .torch_peer import made, read, twin

TITLE = "One step, batch 1, float32, in C by gcc -O3 -march=native"
SIZES = (32, 64, 128)
NAMES = ("lstm", "gru")
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O3", "-march=native")
STEPS = 1000  # of one turn of the race, in one call
UNIT = Unit("us/step", 1000 / STEPS)
ONE_BY_ONE, AT_ONCE = "our session", "our session, at once"
TOLERANCE = 1e-5
GOALS = {("lstm", 64): 3.0}  # microseconds a step, at most
# A call from Python takes longer than a step, so C calls it too.
LOOP = """
#include "model.h"
static model_state state;
void steps(int count, const float *x, float *y)
{
    model_init(&state);
    for (int t = 0; t < count; t++) {
        model_step(&state, x + t * MODEL_INPUTS, y + t * MODEL_OUTPUTS);
    }
}
"""


def rows(asked: Asked) -> Iterator[Row]:
    if shutil.which("gcc") is None:
        print("skipped: gcc is not installed", flush=True)
        return
    for name in NAMES:
        for hidden in SIZES:
            if asked.wants(str(hidden)):
                yield from _rows(name, hidden, asked.seconds)


def _rows(name: str, hidden: int, seconds: float) -> Iterator[Row]:
    cell = made(name, hidden).eval()
    x = torch.randn(STEPS, hidden)
    with torch.no_grad():
        exact = read(twin(name, cell).double(), x[None].double(), None)[0]
    with tempfile.TemporaryDirectory() as folder:
        steps = compiled(Path(folder), c_source(cell, x[0]).write(folder)[1])
        y = torch.empty(STEPS, hidden)

        def run() -> list[Tensor]:
            steps(STEPS, ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(y.data_ptr()))
            return [y]

        ours = Contender("ours", run, run)
        session, arrays = Session(cell), list(x.numpy())

        def one_by_one() -> list[Tensor]:
            session.reset()
            return [torch.stack([torch.from_numpy(session(row)) for row in arrays])]

        def at_once() -> list[Tensor]:
            session.reset()
            return [session.push(x)]

        peers = [Contender(ONE_BY_ONE, one_by_one, one_by_one), Contender(AT_ONCE, at_once, at_once)]
        head = {"cell": name, "H": str(hidden)}
        yield from contest(head, ours, peers, [exact], seconds, tolerance=TOLERANCE, path="gcc", unit=UNIT)


def compiled(folder: Path, source: Path) -> Callable[[int, ctypes.c_void_p, ctypes.c_void_p], object]:
    """`steps` of LOOP."""
    (folder / "steps.c").write_text(LOOP)
    library = folder / "steps.so"
    names = [str(folder / "steps.c"), str(source)]
    subprocess.run(["gcc", *FLAGS, "-shared", "-fPIC", *names, "-lm", "-o", str(library)], check=True)
    return ctypes.CDLL(str(library)).steps


def summary(table: Sequence[Row]) -> str:
    lines = []
    for row in table:
        goal = GOALS.get((row["cell"], int(row["H"])))
        if row["peer"] == ONE_BY_ONE and goal is not None and row["ours us/step"] != "-":
            met = "met" if float(row["ours us/step"]) <= goal else "missed"
            lines.append(f"{row['cell']}, H = {row['H']}: {row['ours us/step']} us a step; goal {goal:g}: {met}")
    note = (
        f"A turn is {STEPS} steps from the initial state: by a loop in C, by calls of a session from Python, or by one "
        "of `Session.push`, which makes the products with x for many steps at once. The times are medians over turns, "
        "the errors those of the sequence in float64."
    )
    return "\n".join([*lines, CONVENTION, note])
