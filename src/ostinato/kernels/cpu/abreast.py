"""Threads that take the same rows through all steps together: for batches too small to be cut.

Reading the weights is what a step of one row costs, so each thread multiplies with some of their columns alone. Then
they meet, and each takes over what the others found: that is `product`, which kernels call as they would any other.
What lies between the products each thread computes for itself, in scratch of its own, and all write the same numbers.

A matrix's place is taken by a description of this thread's part, `WORDS` integers:

    me, count, first column, columns, numbers of a packed column, stride of staging, control, multiply, give_way,
    packed columns, staging

Where other processes hold the cores, who waits for a thread waits long: then threads go alone for a while.

Results are staged in two places by turns: who writes into the first one again has met the others since they read it.
"""

import ctypes
from collections.abc import Iterable, Mapping
from functools import cache

import torch
from torch import Tensor

from ..ir.buffers import Buffer
from .jobs import c_function, spans
from .lanes import lanes

WORDS = 11
LINE = 8  # integers of a cache line: each thread counts on one of its own how often it met, and gave its core away
WIDE = 3 << 17  # bytes of matrices from which it pays to meet at each product


class Crowd:
    """Whether others hold the cores, as far as the waiting tells; after that, so many calls go alone."""

    def __init__(self, calls: int) -> None:
        self.calls, self.left = calls, 0

    def alone(self) -> bool:
        """Whether the next call goes alone."""
        rests = self.left > 0
        self.left -= rests
        return rests

    def note(self, given_way: int, steps: int) -> None:
        """How often threads gave their cores away in so many steps."""
        if given_way > 16 + 4 * steps:
            self.left = self.calls


CROWD = Crowd(8)


class Shares:
    """What threads abreast hold: each its columns of the matrices, and together where they meet and put results.

    Args:
        matrices: name -> (packed matrix, its columns).
        count: how many threads.
        rows: at most so many pass through a product at once.
        dtype: of the results.
        multiply: the address of the product that each thread computes its columns by.
    """

    def __init__(
        self, matrices: Mapping[Buffer, tuple[Tensor, int]], count: int, rows: int, dtype: str, multiply: int
    ) -> None:
        of = lanes(dtype)

        def whole(columns: int) -> int:
            return -(-columns // of.count) * of.count

        stride = rows * max(whole(columns) for _, columns in matrices.values())
        self.staging = torch.zeros(2 * stride, dtype=getattr(torch, dtype))
        self.control = torch.zeros(count + 1, LINE, dtype=torch.int64)
        control = -(-self.control.data_ptr() // (8 * LINE)) * (8 * LINE)
        skipped = (control - self.control.data_ptr()) // 8
        self._lines = self.control.view(-1)[skipped : skipped + count * LINE].view(count, LINE).numpy()
        self.words = torch.zeros(count, len(matrices), WORDS, dtype=torch.int64)
        self.places: list[dict[Buffer, int]] = [{} for _ in range(count)]  # thread -> array -> its stand-in
        for number, (name, (packed, columns)) in enumerate(matrices.items()):
            depth = packed.numel() // whole(columns)
            parts = spans(columns, count, of.tile.vectors * of.count)
            for me in range(count):
                first, last = parts[me] if me < len(parts) else (0, 0)
                head = (me, count, first, last - first, depth, stride, control, multiply, _give_way())
                ends = (packed.data_ptr() + depth * first * packed.element_size(), self.staging.data_ptr())
                self.words[me, number] = torch.tensor((*head, *ends))
                self.places[me][name] = self.words[me, number].data_ptr()

    def given_way(self) -> int:
        """How often threads gave their cores away while they waited, since the last time this was asked."""
        total = int(self._lines[:, 1].sum())
        self._lines[:, 1] = 0
        return total


def pays(packed: Iterable[Tensor]) -> bool:
    """Whether threads gain by reading these matrices together."""
    return sum(w.numel() * w.element_size() for w in packed) > WIDE


def product(dtype: str) -> int:
    """The address of the product that threads abreast take."""
    return c_function("abreast.product", dtype, "nnnpnnppnnn")


@cache
def _give_way() -> int:
    """The address of `sched_yield`; 0 where there is none."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0
