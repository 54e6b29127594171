"""Runs emitted source as plain Python over numpy: slow, without Numba, and the same on every machine."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.kernels.build.time_loop import HEAD
from ostinato.kernels.compiler import Direction
from ostinato.kernels.ir.buffers import Buffer
from ostinato.kernels.scan.program import Along, Launch, Options, Outer


class Memory:
    """Numbers, and where one points into them."""

    def __init__(self, numbers: np.ndarray, start: int = 0) -> None:
        self.numbers, self.start = numbers, start


def masked(v: np.ndarray, n: int, other: float = 0.0) -> np.ndarray:
    return np.where(np.arange(len(v)) < n, v, other)


class Plain:
    """A machine of `lanes` numbers a vector."""

    def __init__(self, lanes: int, block: int = 3, jobs: int = 2) -> None:
        self.lanes, self.block, self.jobs = lanes, block, jobs
        self.name = self.kind = "float64"

    def empty(self, *shape: int) -> Tensor:
        return torch.full(shape, math.nan, dtype=torch.float64)

    def clear(self, arrays: Sequence[Tensor], lengths: Tensor) -> None:
        for array in arrays:
            array[torch.arange(array.shape[1]) >= lengths[:, None]] = 0.0

    def packs(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        return list(matrices)

    def products(
        self, outers: Sequence[Outer], alongs: Sequence[Along], lengths: Tensor | None
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        found = []
        for a, b, start in outers:
            late = b if start is None else torch.cat([start[:, None], b[:, :-1]], dim=1)
            found.append((a.flatten(0, 1).T @ late.flatten(0, 1), a.sum((0, 1))))
        return found, [x @ matrix for x, matrix, _ in alongs]

    def launch(self, runs: Sequence[Launch]) -> None:
        for run in runs:
            self.run(*run)

    def run(
        self, direction: Direction, rows: int, steps: int, arrays: dict[Buffer, Tensor], options: Options
    ) -> None:  # fmt: skip
        scope = self.scope()
        exec(direction.source, scope)
        buffers = direction.program.arrays
        given = [arrays[buffer].contiguous() for buffer in buffers]
        flat = [a if buffer.kind.packed else a.view(-1) for buffer, a in zip(buffers, given, strict=True)]
        pointers = [Memory(a.numpy()) for a in flat]
        extra = [0 if t is None else Memory(t.reshape(-1).numpy()) for t in (options.lengths, options.resets)]
        share = -(-rows // self.jobs)
        for start in range(0, rows, share):
            scratch = Memory(np.full(self.block * direction.program.room + direction.program.beside, np.nan))
            head = (steps, start, min(rows, start + share), self.block, self.product, scratch, *extra)
            assert len(head) == len(HEAD)
            with np.errstate(all="ignore"):  # of lanes past the end of a row
                scope[direction.name](*head, *pointers)

    def product(self, rows: int, n: int, k: int, a: Memory, lda: int, w: Memory, c: Memory, ldc: int) -> None:
        for r in range(rows):
            row = a.numbers[a.start + r * lda :][:k]
            c.numbers[c.start + r * ldc :][:n] = row @ w.numbers

    def exact(
        self, multiply: Any, rows: int, n: int, k: int, a: Memory, lda: int, ks: int, w: Memory, c: Memory, ldc: int,
        plus: int,
    ) -> None:  # fmt: skip
        assert ks == 1
        for r in range(rows):
            row = a.numbers[a.start + r * lda :][:k] @ w.numbers
            to = c.numbers[c.start + r * ldc :][:n]
            to[:] = to + row if plus else row

    def scope(self) -> dict[str, Any]:
        lanes = self.lanes

        def load(p: Memory, i: int) -> np.ndarray:
            found = p.numbers[p.start + i :][:lanes].copy()
            assert len(found) == lanes
            return found

        def load_n(p: Memory, i: int, n: int) -> np.ndarray:
            found = np.zeros(lanes)
            n = min(n, lanes)
            found[:n] = p.numbers[p.start + i :][:n]
            return found

        def store_n(p: Memory, i: int, v: np.ndarray, n: int) -> None:
            n = min(n, lanes)
            assert v.shape == (lanes,)
            p.numbers[p.start + i :][:n] = v[:n]

        def gather(p: Memory, i: int, step: int, n: int) -> np.ndarray:
            found = np.zeros(lanes)
            found[: min(n, lanes)] = p.numbers[[p.start + i + lane * step for lane in range(min(n, lanes))]]
            return found

        def scatter(p: Memory, i: int, step: int, v: np.ndarray, n: int) -> None:
            for lane in range(min(n, lanes)):
                p.numbers[p.start + i + lane * step] = v[lane]

        def store1(p: Memory, i: int, x: float) -> None:
            p.numbers[p.start + i] = x

        def copy(rows: int, width: int, a: Memory, lda: int, c: Memory, ldc: int) -> None:
            for r in range(rows):
                c.numbers[c.start + r * ldc :][:width] = a.numbers[a.start + r * lda :][:width]

        def compared(name: str) -> Any:
            return lambda x, y: getattr(np, name)(x, y).astype(float)

        names = {
            "gt": "greater",
            "ge": "greater_equal",
            "lt": "less",
            "le": "less_equal",
            "eq": "equal",
            "ne": "not_equal",
        }
        return {
            "math": math, "ptr": lambda p: p, "at": lambda p, i: Memory(p.numbers, p.start + i), "load": load,
            "store": lambda p, i, v: store_n(p, i, v, lanes), "load_n": load_n, "store_n": store_n, "keep_n": masked,
            "gather": gather, "scatter": scatter,
            "load1": lambda p, i: p.numbers[p.start + i], "store1": store1, "num": np.float64,
            "spread": lambda x: np.full(lanes, x), "hsum": np.sum, "hmax": np.max, "copy": copy,
            "call_product": lambda f, *a: f(*a), "call_exact": self.exact,
            "v_neg": np.negative, "v_exp": np.exp, "v_log": np.log,
            "v_tanh": np.tanh, "v_sigmoid": lambda x: 1 / (1 + np.exp(-x)), "v_relu": lambda x: np.maximum(x, 0),
            "v_abs": np.abs, "v_sqrt": np.sqrt, "v_erf": lambda x: torch.erf(torch.from_numpy(x)).numpy(),
            "v_expm1": np.expm1, "v_sin": np.sin, "v_cos": np.cos, "v_atan": np.arctan, "v_floor": np.floor,
            "v_log2": np.log2, "v_log10": np.log10, "v_fmod": np.fmod, "v_copysign": np.copysign,
            "v_erfc": lambda x: torch.erfc(torch.from_numpy(x)).numpy(),
            "v_round": np.rint, "v_pow": np.power, "v_sign": lambda x: (x > 0) * 1.0 - (x < 0), "v_maximum": np.maximum,
            "v_minimum": np.minimum, "v_where": lambda c, x, y: np.where(c != 0, x, y),
            **{f"v_{short}": compared(name) for short, name in names.items()},
        }  # fmt: skip
