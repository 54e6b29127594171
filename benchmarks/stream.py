"""One step, batch 1, called from Python: a session, ONNX Runtime on one thread, torch's own cells."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.recurrent import Cell
from ostinato.stream import Session

from . import peers
from .contest import CONVENTION, Asked, Contender, Unit, contest, means
from .machine import resident
from .tables import Row
from .torch_peer import made, read, twin

TITLE = "One step, batch 1, float32, called from Python"
SIZES = (8, 16, 32, 64, 128, 256, 512)
CHUNK = 64  # steps of one push, or one by one in one turn of the race
UNIT = Unit("us/step", 1000 / CHUNK)
SINGLE = "our single steps"
LONG, SHORT, AT_ONCE = 1_000_000, 10_000, 1_000  # steps
TOLERANCE = 1e-5
GOALS = {peers.ORT: {64: 4.0, 128: 2.5, 256: 1.6, 512: 1.6}, "torch cell": {64: 6.0, 128: 4.0, 256: 3.0, 512: 3.0},
         SINGLE: {64: 1.5, 128: 1.5}}  # fmt: skip
MODULES = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}


def rows(asked: Asked) -> Iterator[Row]:
    others = peers.installed(peers.ORT)
    for name in MODULES:
        for hidden in SIZES:
            if asked.wants(str(hidden)):
                yield from _rows(name, hidden, asked.seconds, bool(others))
    if asked.wants("64"):
        yield from _for_long(asked.seconds)


def _rows(name: str, hidden: int, seconds: float, runtime: bool) -> Iterator[Row]:
    cell = made(name, hidden).eval()
    x = torch.randn(CHUNK, hidden)
    with torch.no_grad():
        exact = read(twin(name, cell).double(), x[None].double(), None)[0]
    session = Session(cell)
    session.push(x[:2])
    path, arrays = session.explain().split(":")[0], x.numpy()

    def against(given: str, ours: Contender, *them: Contender) -> Iterator[Row]:
        head = {"cell": name, "H": str(hidden), "given": given}
        yield from contest(head, ours, them, [exact], seconds, tolerance=TOLERANCE, path=path, unit=UNIT)

    cells = _by_steps("torch cell", lambda: _TorchCell(name, cell), x)
    yield from against("a tensor", _by_steps("ours", lambda: Session(cell), x), cells)
    steps, pushed = (
        _by_steps("ours", lambda: Session(cell), arrays),
        _by_chunk("ours", lambda: Session(cell).push, arrays),
    )
    at_once = [steps._replace(name=SINGLE)]
    if runtime:
        from .onnx_peer import Stream, onnx_runtime

        node = onnx_runtime(name, cell, 1)
        yield from against("an array", steps, _by_steps(peers.ORT, lambda: Stream(node, dict(node.start)).step, arrays))
        at_once.append(_by_chunk(f"{peers.ORT}, at once", lambda: Stream(node, dict(node.start)), arrays))
    yield from against(f"{CHUNK} arrays at once", pushed, *at_once)


def _by_steps(name: str, make: Callable[[], Any], x: Any) -> Contender:
    """All steps of x, one by one; the result is that from the start."""
    step, rows = make(), list(x)

    def run() -> None:
        for row in rows:
            step(row)

    def result() -> list[Tensor]:
        fresh = make()
        return [torch.stack([torch.as_tensor(fresh(row)) for row in rows])]

    return Contender(name, run, result)


def _by_chunk(name: str, make: Callable[[], Callable[[Any], Any]], x: Any) -> Contender:
    push = make()
    return Contender(name, lambda: push(x), lambda: [torch.as_tensor(make()(x))])


class _TorchCell:
    """nn.LSTMCell or nn.GRUCell that remembers its state, without gradients."""

    def __init__(self, name: str, cell: Cell[Any]) -> None:
        layer = twin(name, cell)
        hidden = cell.get_parameter("w_rec").shape[1]
        self.cell, self.state = MODULES[name](hidden, hidden), None
        self.cell.load_state_dict({key.removesuffix("_l0"): value for key, value in layer.state_dict().items()})

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        self.state = self.cell(x[None], self.state)
        return (self.state[0] if isinstance(self.state, tuple) else self.state)[0]


def _for_long(seconds: float) -> Iterator[Row]:
    """Many steps with a session: its memory, and how far it is from the offline scan in float64 (of torch.nn)."""
    steps = LONG if seconds >= 1 else SHORT
    hidden, worst, spent, before = 64, 0.0, 0.0, 0
    cell = made("lstm", hidden).eval()
    session, offline, state = Session(cell), copy.deepcopy(twin("lstm", cell)).double(), None
    for _ in range(0, steps, AT_ONCE):
        chunk = torch.randn(AT_ONCE, hidden)
        began = time.perf_counter()
        ys = np.stack([session(x) for x in chunk.numpy()])
        spent += time.perf_counter() - began
        with torch.no_grad():
            exact, state = offline(chunk[None].double(), state)
        worst = max(worst, float((torch.from_numpy(ys) - exact[0]).abs().max()))
        before = before or _memory()
    row = {"cell": "lstm", "H": str(hidden), "given": f"{steps:,} arrays in turn", "peer": "-",
           "error ours": f"{worst:.0e}", "error peer": "-", "ours us/step": f"{spent / steps * 1e6:.4g}",
           "peer us/step": "-", "speed-up": "-", "spread": "-", "rounds": "1"}  # fmt: skip
    path = f"{session.explain().split(':')[0]}, resident {before / 1024:.1f} MB, after {_memory() / 1024:.1f} MB"
    yield row | {"path": path if worst <= TOLERANCE else "WRONG"}


def _memory() -> int:
    try:
        return resident()
    except FileNotFoundError:
        return 0


def summary(table: Sequence[Row]) -> str:
    lines = []
    for row in table:
        goal = GOALS.get(row["peer"], {}).get(int(row["H"]))
        if goal is not None and row["speed-up"] != "-":
            ratio = float(row["speed-up"])
            met = "met" if ratio >= goal else "missed"
            lines.append(f"{row['cell']}, H = {row['H']}, against {row['peer']}: {ratio:.2f}; goal {goal:g}: {met}")
    note = (
        f"Errors are those of {CHUNK} steps against the sequence in float64. Each contender carries its state from "
        "call to call; ONNX Runtime has one thread. The memory of the long row is taken after its first thousand steps "
        "and at its end; its error is the largest difference from the offline scan in float64."
    )
    return "\n".join([*means(table, best_too=False), *lines, CONVENTION, note])
