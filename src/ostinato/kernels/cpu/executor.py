"""The CPU: where derived source runs, on the threads of torch, and the products over all steps."""

import functools
import math
from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import deterministic

from ..build.input_product import TOGETHER
from ..compiler import Direction
from ..ir.buffers import Buffer
from ..scan.program import Along, Launch, Options, Outer
from .gemm import column_parallel
from .gemm import host as gemm
from .gemm.packing import SMALL, pack_jobs, packed_size
from .gemm.packing import product as product_address
from .library.padding import zero_past_lengths
from .runtime import compile_cache, memory
from .runtime.jobs import Job
from .runtime.thread_team import Abreast, parallel_for
from .simd.width import lanes

BLOCK = 24  # rows of the batch that pass through a step together: their scratch stays in the cache
CACHE = 1 << 16  # numbers of scratch that a core's own cache holds


@functools.cache
def executor(dtype: torch.dtype, products: str | None = None) -> "CpuExecutor":
    """The executor for float32 or float64.

    With products = "bfloat16" the factors of all products are rounded to bfloat16; what goes in and comes out, and all
    sums, are float32. It pays where `cpu_features.has_avx512_bf16()`.

    Raises ValueError for other products, and for these beside another dtype than float32.
    """
    if products is not None and (products, dtype) != ("bfloat16", torch.float32):
        raise ValueError(f"products of {products} are not written for {dtype}; use bfloat16 for float32, or None")
    return CpuExecutor(dtype, products)


class CpuExecutor:
    """See `program.Executor`."""

    def __init__(self, dtype: torch.dtype, products: str | None = None) -> None:
        self.dtype, self.name = dtype, str(dtype).removeprefix("torch.")
        self.kind = products or self.name  # of its products
        self.lanes = lanes(self.name).count
        self.scope = compile_cache.Scope(compile_cache.NAMES, "kernel", (self.name, self.lanes))
        self.multiply = product_address(self.kind)

    def empty(self, *shape: int) -> Tensor:
        made = memory.empty(shape, self.dtype)
        # As torch.empty does: the laws find out who reads memory before writing it.
        fills = deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
        poison = fills and torch.are_deterministic_algorithms_enabled()
        return made.fill_(math.nan) if poison else made

    def clear(self, arrays: Sequence[Tensor], lengths: Tensor) -> None:
        zero_past_lengths(arrays, lengths)

    def packs(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        made = [memory.empty((packed_size(m.shape[0], m.shape[1], self.kind),), self.dtype) for m in matrices]
        count, jobs = torch.get_num_threads(), list[Job]()
        for matrix, packed in zip(matrices, made, strict=True):
            jobs += pack_jobs(matrix, packed, count if matrix.numel() > SMALL else 1, self.kind)
        parallel_for(jobs)
        return made

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, lengths: Tensor | None = None) -> Tensor:
        """x [..., K] @ weight [K, N] + bias [N]; with lengths [B] of x [B, T, K], zeros past them."""
        options: Any = {"run": parallel_for, "count": torch.get_num_threads(), "kind": self.kind}
        return gemm.linear(x, weight, bias, lengths=lengths, **options)

    def outer_and_total(
        self, a: Tensor, b: Tensor, start: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(a^T b, the sum of a over batch and steps): see `gemm.outer`."""
        options: Any = {"run": parallel_for, "count": torch.get_num_threads(), "kind": self.kind}
        return gemm.outer(a, b, start, lengths=lengths, **options)

    def products(
        self, outers: Sequence[Outer], alongs: Sequence[Along], lengths: Tensor | None
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        count, jobs = torch.get_num_threads(), list[Job]()
        which = gemm.within(lengths, outers[0].a) if outers and lengths is not None else None
        widest = max((gemm.scratch_size(o.b.shape[-1], self.kind) for o in outers), default=0)
        rooms = memory.scratch((len(outers), count, widest), self.dtype)
        made, found = [], []
        for outer, room in zip(outers, rooms, strict=True):
            result, more = gemm.outer_laid(*outer, which, room, self.kind)
            found.append(result)
            jobs += more
        for along in alongs:
            result, more = gemm.linear_laid(*along, lengths=lengths, count=count, kind=self.kind)
            made.append(result)
            jobs += more
        parallel_for(jobs)
        return found, made

    def compiled(self, direction: Direction) -> int:
        """The address of a direction's machine code."""
        # The products, called by address, are no part of it.
        return compile_cache.load(direction.source, direction.name, self.scope).address

    def launch(self, launches: Sequence[Launch]) -> None:
        threads, laid = torch.get_num_threads(), list[tuple[Launch, int, int, int, int]]()
        for run in launches:
            if self._wide(run, len(launches)) and not column_parallel.CONTENTION.alone():
                self._abreast(*run)
                continue
            spans = _spans(run.rows, threads)
            block = min(BLOCK, max(end - start for start, end in spans))
            if run.direction.program.apart:
                block = min(block, max(1, CACHE // run.direction.program.room))
            block = math.ceil(spans[0][1] / math.ceil(spans[0][1] / block))  # even blocks: 32 rows are 16 and 16
            laid += [(run, start, end, block, self.scratch(run.direction, block)) for start, end in spans]
        scratch = memory.scratch((sum(size for *_, size in laid),), self.dtype)
        jobs, at = list[Job](), 0
        for run, start, end, block, size in laid:
            given = [run.arrays[name] for name in run.direction.program.arrays]
            assert all(t.is_contiguous() and t.dtype == self.dtype for t in given)
            head = self._head(run.steps, start, end, block, scratch.data_ptr() + at * scratch.itemsize, run.options)
            jobs.append((self.compiled(run.direction), (*head, *(t.data_ptr() for t in given))))
            at += size
        parallel_for(jobs)

    def _wide(self, run: Launch, runs: int) -> bool:
        """Whether threads gain by sharing the rows of a run; each of two directions has a thread, and nobody waits."""
        idle = run.rows < torch.get_num_threads() and 2 * run.rows * (runs - 1) < torch.get_num_threads()
        return idle and column_parallel.pays(run.arrays[name] for name in run.direction.program.columns)

    def scratch(self, direction: Direction, rows: int) -> int:
        """How many numbers of scratch a job takes whose blocks have so many rows."""
        return rows * direction.program.room + direction.program.beside + self.lanes

    def _head(
        self, steps: int, start: int, end: int, block: int, scratch: int, options: Options, multiply: int = 0
    ) -> tuple[int, ...]:
        """The integers of time_loop.HEAD."""
        marks = (0 if t is None else t.data_ptr() for t in (options.lengths, options.resets))
        return (steps, start, end, block, multiply or self.multiply, scratch, *marks)

    def _abreast(
        self, direction: Direction, rows: int, steps: int, arrays: dict[Buffer, Tensor], options: Options
    ) -> None:
        """Fewer rows than threads: all threads take all rows, and each some columns of the matrices."""
        count, address = torch.get_num_threads(), self.compiled(direction)
        matrices = {name: (arrays[name], columns) for name, columns in direction.program.columns.items()}
        shares = column_parallel.ColumnShards(matrices, count, rows + TOGETHER, self.name, self.multiply)
        scratch = memory.scratch((count + 1, self.scratch(direction, rows)), self.dtype)
        held, words = [arrays], []
        for places in ({}, *shares.places):
            number = len(words)
            # What kernels add to, only one may add to.
            own = {b: a.clone() for b, a in arrays.items() if number > 1 and not b.kind.shared}
            held.append(own)
            head = self._head(
                steps,
                0,
                rows,
                rows,
                scratch[number].data_ptr(),
                options,
                column_parallel.product(self.name) if places else 0,
            )
            given = (places.get(name) or own.get(name, arrays[name]).data_ptr() for name in direction.program.arrays)
            words.append(array("q", [*head, *given]))
        jobs = [(address, w.buffer_info()[0]) for w in words]
        Abreast(jobs[1:], jobs[0]).run()
        column_parallel.CONTENTION.note(shares.given_way(), steps)


def _spans(n: int, parts: int) -> Sequence[tuple[int, int]]:
    """0..n in even parts, at most so many."""
    size = -(-n // parts)
    return [(start, min(n, start + size)) for start in range(0, n, size)]
