"""What a first use costs: seconds to derive and compile a kernel, and the memory that a training step holds."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ostinato import kernels
from ostinato.cells import cells

from .contest import Asked, label
from .tables import Row
from .torch_peer import made, twin

TITLE = "First use of a cell (backend numba, H = 256, float32), and memory held between forward and backward"
HIDDEN = 256
FIRST = ("lstm", "layernorm_lstm", "gru")
GOALS = {"empty": 5.0, "kept": 0.3}  # seconds, by what the cache holds
SHAPE = (100, 64, 256)  # T, B, H


def rows(asked: Asked) -> Iterator[Row]:
    for name in FIRST:
        if asked.wants(str(HIDDEN)):
            yield from _first(name)
    if asked.wants(SHAPE):
        yield from _memory()


def _first(name: str) -> Iterator[Row]:
    """Two processes, one after the other, with a cache of their own."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        for cache, goal in GOALS.items():
            command = [sys.executable, "-m", "benchmarks.footprint", name, str(torch.get_num_threads())]
            given = os.environ | {"OSTINATO_CACHE": folder}
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=given)
            row = {"what": f"{name}, cache {cache}", "measured": "-", "goal": f"{goal:g} s", "path": "WRONG"}
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                yield row
                return
            yield row | {"measured": f"{done.stdout.strip()} s", "path": "numba"}


def first_use(name: str) -> float:
    """Seconds of the first forward and backward pass after the imports, less those of the second one."""
    cell, x = cells[name](HIDDEN, HIDDEN), torch.randn(4, 8, HIDDEN)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        with kernels.backend("numba"):
            cell(x)[0].sum().backward()
        times.append(time.perf_counter() - began)
    return times[0] - times[1]


def _memory() -> Iterator[Row]:
    steps, batch, hidden = SHAPE
    cell = made("lstm", hidden)
    modules = {
        "torch.nn.LSTM": ("torch", twin("lstm", cell)),
        **{f"lstm by {b}": (b, cell) for b in kernels.backends()},
    }
    for what, (backend, module) in modules.items():
        yield {"what": f"{what}, {label(SHAPE)}", "measured": f"{_held(backend, module, steps, batch) / 2**20:.0f} MB",
               "goal": "-", "path": backend}  # fmt: skip


def _held(backend: str, module: nn.Module, steps: int, batch: int) -> int:
    """Bytes that autograd keeps for the backward pass, weights and input left out; each memory counts once."""
    x = torch.randn(batch, steps, SHAPE[2], requires_grad=True)
    ours = {t.untyped_storage().data_ptr() for t in (x, *module.parameters())}
    found: dict[int, int] = {}
    alive = []

    def keep(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in ours:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(storage)  # or its address could be given away again, and count once
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        if backend == "torch":
            module(x)
        else:
            with kernels.backend(backend):
                module(x)
    return sum(found.values())


def summary(table: Sequence[Row]) -> str:
    return (
        "First use: from after the imports to the end of a forward and backward pass on a small batch, less the same "
        "pass again, in a fresh process. Memory: what autograd saved, each storage once, weights and input left out."
    )


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    print(f"{first_use(sys.argv[1]):.2f}")
