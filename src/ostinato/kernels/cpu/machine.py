"""This machine: where derived source runs, on the threads of torch, and the products over all steps."""

import functools
import math
from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import deterministic

from . import abreast, cache, memory, product
from .derived import Direction, Options
from .frame import TOGETHER
from .lanes import lanes
from .panels import pack
from .panels import product as product_address
from .team import Abreast, together

BLOCK = 24  # rows of the batch that pass through a step together: their scratch stays in the cache


@functools.cache
def machine(dtype: torch.dtype, products: str | None = None) -> "NumbaMachine":
    """The machine for float32 or float64.

    With products = "bfloat16" the factors of all products are rounded to bfloat16; what goes in and comes out, and all
    sums, are float32. It pays where `operands.native_bfloat16()`.

    Raises ValueError for other products, and for these beside another dtype than float32.
    """
    if products is not None and (products, dtype) != ("bfloat16", torch.float32):
        raise ValueError(f"products of {products} are not written for {dtype}; use bfloat16 for float32, or None")
    return NumbaMachine(dtype, products)


class NumbaMachine:
    """See `derived.Machine`."""

    def __init__(self, dtype: torch.dtype, products: str | None = None) -> None:
        self.dtype, self.name = dtype, str(dtype).removeprefix("torch.")
        self.kind = products or self.name  # of its products
        self.lanes = lanes(self.name).count
        self.scope = cache.Scope(cache.NAMES, "kernel", (self.name, self.lanes))
        self.multiply = product_address(self.kind)

    def empty(self, *shape: int) -> Tensor:
        made = memory.empty(shape, self.dtype)
        # As torch.empty does: the laws find out who reads memory before writing it.
        fills = deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
        poison = fills and torch.are_deterministic_algorithms_enabled()
        return made.fill_(math.nan) if poison else made

    def pack(self, matrix: Tensor) -> Tensor:
        return pack(matrix, together, torch.get_num_threads() if matrix.numel() > 1 << 16 else 1, self.kind)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor | None = None) -> Tensor:
        """x [..., K] @ weight [K, N] + bias [N]; with lengths [B] of x [B, T, K], zeros past them."""
        options: Any = {"run": together, "count": torch.get_num_threads(), "kind": self.kind}
        return product.linear(x, weight, bias, lengths=lengths, **options)

    def outer(self, a: Tensor, b: Tensor, start: Tensor | None, lengths: Tensor | None = None) -> Tensor:
        return self.outer_and_total(a, b, start, lengths)[0]

    def outer_and_total(
        self, a: Tensor, b: Tensor, start: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`outer`, and the sum of a over batch and steps."""
        options: Any = {"run": together, "count": torch.get_num_threads(), "kind": self.kind}
        return product.outer(a, b, start, lengths=lengths, **options)

    def compiled(self, direction: Direction) -> int:
        """The address of a direction's machine code."""
        # The products, called by address, are no part of it.
        return cache.load(direction.source, direction.name, self.scope).address

    def launch(self, direction: Direction, rows: int, steps: int, arrays: dict[str, Tensor], options: Options) -> None:
        given = [arrays[name] for name in direction.arrays]
        assert all(t.is_contiguous() and t.dtype == self.dtype for t in given)
        threads = torch.get_num_threads()
        wide = rows < threads and abreast.pays(arrays[name] for name in direction.columns)
        if wide and not abreast.CROWD.alone():
            self._abreast(direction, rows, steps, arrays, options)
            return
        spans = _spans(rows, threads)
        block = min(BLOCK, max(end - start for start, end in spans))
        block = math.ceil(spans[0][1] / math.ceil(spans[0][1] / block))  # even blocks: 32 rows are 16 and 16
        scratch = memory.empty((len(spans), self.scratch(direction, block)), self.dtype)
        address, places = self.compiled(direction), [t.data_ptr() for t in given]
        together([
            (address, (*self._head(steps, start, end, block, scratch[n], options), *places))
            for n, (start, end) in enumerate(spans)
        ])  # fmt: skip

    def scratch(self, direction: Direction, rows: int) -> int:
        """How many numbers of scratch a job takes whose blocks have so many rows."""
        return rows * direction.room + direction.beside + self.lanes

    def _head(
        self, steps: int, start: int, end: int, block: int, scratch: Tensor, options: Options, multiply: int = 0
    ) -> tuple[int, ...]:
        """The integers of frame.HEAD."""
        marks = (0 if t is None else t.data_ptr() for t in (options.lengths, options.resets))
        return (steps, start, end, block, multiply or self.multiply, scratch.data_ptr(), *marks)

    def _abreast(
        self, direction: Direction, rows: int, steps: int, arrays: dict[str, Tensor], options: Options
    ) -> None:
        """Fewer rows than threads: all threads take all rows, and each some columns of the matrices."""
        count, address = torch.get_num_threads(), self.compiled(direction)
        matrices = {name: (arrays[name], columns) for name, columns in direction.columns.items()}
        shares = abreast.Shares(matrices, count, rows + TOGETHER, self.name, self.multiply)
        scratch = memory.empty((count + 1, self.scratch(direction, rows)), self.dtype)
        held, words = [arrays], []
        for places in ({}, *shares.places):
            number = len(words)
            # What kernels add to, only one may add to.
            own = {n: a.clone() for n, a in arrays.items() if number > 1 and n.startswith(("sums", "dinitial"))}
            held.append(own)
            head = self._head(
                steps, 0, rows, rows, scratch[number], options, abreast.product(self.name) if places else 0
            )
            given = (places.get(name) or own.get(name, arrays[name]).data_ptr() for name in direction.arrays)
            words.append(array("q", [*head, *given]))
        jobs = [(address, w.buffer_info()[0]) for w in words]
        Abreast(jobs[1:], jobs[0]).run()
        abreast.CROWD.note(shares.given_way(), steps)


def _spans(n: int, parts: int) -> Sequence[tuple[int, int]]:
    """0..n in even parts, at most so many."""
    size = -(-n // parts)
    return [(start, min(n, start + size)) for start in range(0, n, size)]
