"""Inference on one long sequence: ours by a scan and by a session, torch.nn, ONNX Runtime, OpenVINO."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.recurrent import Cell
from ostinato.stream import Session

from . import peers
from .contest import BEST, CONVENTION, Asked, Contender, Unit, contest, label, means
from .tables import Row
from .timing import CALM
from .torch_peer import lowered, made, path, read, twin

STEPS = 1000
PUSHED = ", session"
TITLE = f"Inference on one sequence of {STEPS} steps, batch 1, I = H"
DTYPES = ("float32", "bfloat16")
SHAPES = tuple((STEPS, 1, hidden) for hidden in (128, 256, 512))
GOALS = {"float32": 1.5, "bfloat16": 2.5}
# Relative to the largest output.
TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-2}


def rows(asked: Asked) -> Iterator[Row]:
    others = peers.installed(peers.ORT, peers.OPENVINO)
    for name in ("lstm", "gru"):
        for shape in filter(asked.wants, SHAPES):
            yield from _rows(name, shape, asked, others)


def _rows(name: str, shape: tuple[int, int, int], asked: Asked, others: Sequence[str]) -> Iterator[Row]:
    steps, batch, hidden = shape
    cell = made(name, hidden).eval()
    theirs, x = twin(name, cell), torch.randn(batch, steps, hidden)
    with torch.no_grad():
        exact = read(copy.deepcopy(theirs).double(), x.double(), None)
        took = path(cell, x, asked.dtype)
    against = [_torch(f"torch.nn{_kind(asked.dtype)}", theirs, x, asked.dtype)]
    if asked.dtype != "float32":
        against += [_torch("torch.nn", theirs, x, "float32"), _torch("ours in float32", cell, x, "float32")]
    against += _runtimes(name, cell, x, asked.dtype, others)
    ways = {name: (_torch("ours", cell, x, asked.dtype), took), f"{name}{PUSHED}": _session(cell, x, asked.dtype)}
    for title, (ours, way) in ways.items():
        yield from contest(
            {"cell": title, "T x B x H": label(shape), "dtype": asked.dtype}, ours, against, [exact], asked.seconds,
            tolerance=TOLERANCE[asked.dtype], path=way, unit=Unit("us/step", 1000 / steps), pause=CALM,
        )  # fmt: skip


def _torch(name: str, module: nn.Module, x: Tensor, dtype: str) -> Contender:
    def run() -> list[Tensor]:
        with torch.no_grad(), lowered(dtype):
            return [read(module, x, None)]

    return Contender(name, run, run)


def _session(cell: Cell[Any], x: Tensor, dtype: str) -> tuple[Contender, str]:
    """All steps in one push, and the way it takes."""
    session, rows = Session(cell, weights=None if dtype == "float32" else dtype), x[0]

    def result() -> list[Tensor]:
        session.reset()
        return [session.push(rows)[None]]

    result()  # the way is chosen at the first call
    return Contender("ours", lambda: session.push(rows), result), session.explain().split(":")[0]


def _runtimes(name: str, cell: Any, x: Tensor, dtype: str, others: Sequence[str]) -> list[Contender]:
    """Those of the others that are there, each on so many threads; ONNX Runtime has float32 only."""
    if not others:
        return []
    from . import onnx_peer

    threads, found, rows = torch.get_num_threads(), list[Contender](), x[0].numpy()

    def add(title: str, node: onnx_peer.Node) -> None:
        run: Callable[[], Tensor] = lambda: node.sequence(rows)  # noqa: E731
        found.append(Contender(title, run, lambda: [run()[None]]))

    if peers.ORT in others:
        for count in sorted({1, threads}):
            add(f"{peers.ORT}, {count} thread{'s' * (count > 1)}", onnx_peer.onnx_runtime(name, cell, count))
    if peers.OPENVINO in others:
        kinds = {"float32": "f32", "bfloat16": "bf16"}
        for kind in dict.fromkeys(("float32", dtype)):
            add(f"{peers.OPENVINO}{_kind(kind)}", onnx_peer.openvino(name, cell, threads, kinds[kind]))
    return found


def _kind(dtype: str) -> str:
    return "" if dtype == "float32" else f" in {dtype}"


def summary(table: Sequence[Row]) -> str:
    goal = GOALS[table[0]["dtype"]] if table else 0.0
    # What the weights' dtype gains is measured against those who keep them in float32.
    full = [row for row in table if not row["peer"].endswith(_kind("bfloat16"))]
    lowered = [row for row in table if row not in full]
    note = (
        "A contender that names no dtype computes in float32, and only these count for the best peer of a shape; ours "
        "in float32 is none. Where the cell has a session beside it, ours is one push of all steps to a session, with "
        "weights of the dtype. Errors are those of all outputs against torch.nn in float64."
    )
    goals = {(name + by, BEST): goal for name in ("lstm", "gru") for by in ("", PUSHED)}
    return "\n".join([*means(full, goals), *means(lowered, best_too=False), CONVENTION, note])
