"""This machine: where derived source runs, on the threads of torch, and the products over all steps."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils import deterministic

from . import cache, memory, product
from .derived import Direction, Options
from .lanes import lanes
from .panels import call_product, pack
from .panels import product as product_address
from .team import together

BLOCK = 24  # rows of the batch that pass through a step together: their scratch stays in the cache


@functools.cache
def machine(dtype: torch.dtype) -> "NumbaMachine":
    """The machine for float32 or float64."""
    return NumbaMachine(dtype)


class NumbaMachine:
    """See `derived.Machine`."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.name = dtype, str(dtype).removeprefix("torch.")
        self.lanes = lanes(self.name).count
        number = np.float32 if dtype == torch.float32 else np.float64
        self.scope = {**lanes(self.name).scope, "math": math, "num": number, "call_product": call_product}
        self.multiply = product_address(self.name)

    def empty(self, *shape: int) -> Tensor:
        made = memory.empty(shape, self.dtype)
        # As torch.empty does: the laws find out who reads memory before writing it.
        fills = deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
        poison = fills and torch.are_deterministic_algorithms_enabled()
        return made.fill_(math.nan) if poison else made

    def pack(self, matrix: Tensor) -> Tensor:
        return pack(matrix, together, torch.get_num_threads() if matrix.numel() > 1 << 16 else 1)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x [..., K] @ weight [K, N] + bias [N]."""
        return product.linear(x, weight, bias, run=together, count=torch.get_num_threads())

    def outer(self, a: Tensor, b: Tensor, start: Tensor | None) -> Tensor:
        return self.outer_and_total(a, b, start)[0]

    def outer_and_total(self, a: Tensor, b: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`outer`, and the sum of a over batch and steps."""
        return product.outer(a, b, start, run=together, count=torch.get_num_threads())

    def compiled(self, direction: Direction) -> int:
        """The address of a direction's machine code."""
        # Lanes and dtype are not in the source, and belong to what it means.
        source = f"# {self.name} x {self.lanes}\n{direction.source}"
        return cache.load(source, direction.name, self.scope).address

    def launch(self, direction: Direction, rows: int, steps: int, arrays: dict[str, Tensor], options: Options) -> None:
        address = self.compiled(direction)
        spans = _spans(rows, torch.get_num_threads())
        block = min(BLOCK, max(end - start for start, end in spans))
        block = math.ceil(spans[0][1] / math.ceil(spans[0][1] / block))  # even blocks: 32 rows are 16 and 16
        scratch = memory.empty((len(spans), block * direction.room + self.lanes), self.dtype)
        marks = [0 if t is None else t.data_ptr() for t in (options.lengths, options.resets)]
        given = [arrays[name] for name in direction.arrays]
        assert all(t.is_contiguous() and t.dtype == self.dtype for t in given)
        places = [t.data_ptr() for t in given]
        together([
            (address, (steps, start, end, block, self.multiply, scratch[n].data_ptr(), *marks, *places))
            for n, (start, end) in enumerate(spans)
        ])  # fmt: skip


def _spans(n: int, parts: int) -> Sequence[tuple[int, int]]:
    """0..n in even parts, at most so many."""
    size = -(-n // parts)
    return [(start, min(n, start + size)) for start in range(0, n, size)]
