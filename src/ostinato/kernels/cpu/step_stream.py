"""A whole model's step as one call: its state lies in memory of its own, and no operation of torch's is between."""

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..build.input_product import TOGETHER
from ..build.time_loop import HEAD as WORDS_BEFORE
from ..ir.buffers import OUT, Buffer, Kind
from ..lower.weight_graph import WeightValues
from ..passes.hoist_input import hoist_input
from ..scan.scan_kernel import ScanKernel, step_of
from .executor import executor
from .gemm.column_parallel import ColumnShards, Contention, pays, product
from .gemm.packing import pack
from .runtime.thread_team import Abreast

ASKED = 64  # steps after which threads are asked how long they waited ...
LATE = 1e-3  # ... or seconds that a step takes only where they do
CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
HEAD = len(WORDS_BEFORE)
STATES = (Kind.START, Kind.LAST, Kind.INITIAL)  # one memory for all three
INPUT = tuple(Buffer(kind, 0) for kind in (Kind.INPUT, Kind.INPUT_MATRIX, Kind.INPUT_BIAS))
X = (Buffer(Kind.DRIVE, 0), INPUT[0], Buffer(Kind.DRIVE, 1))  # what x may be given as


class Whole(NamedTuple):
    """A step of any model, with the interface of a recurrence."""

    function: Callable[..., tuple[Tensor, Any]]  # (x, state, *weights) -> (y, state)
    replayed: bool = False  # see `trace`

    def step(self, x: Any, state: Any, *weights: Tensor) -> tuple[Tensor, Any, None]:
        return *self.function(x, state, *weights), None


class StreamKernel:
    """A step, compiled, with its weights packed as they are now.

    Args:
        function: (x, state, *weights) -> (y, state), a pure function of tensors [B, ...], row-local.
        x: one row: [features], or [] int64 for a token's number.
        state: a tree of one row each: [features].
        weights: float32 or float64, all of one dtype.
        products: "bfloat16" rounds the factors of all products, so that the packed matrices are half as large; what
            lies between the products stays float32, which the weights must be.

    Raises:
        Unsupported: an operation of the step is outside the vocabulary.
    """

    def __init__(
        self, function: Callable[..., tuple[Tensor, Any]], x: Tensor, state: Any, weights: Sequence[Tensor],
        products: str | None = None,
    ) -> None:  # fmt: skip
        self.dtype = weights[0].dtype
        self.executor = executor(self.dtype, products)
        first = hoist_input(step_of(Whole(function)), x, state, weights)
        whole = Whole(function) if first is None else Whole(first.step, replayed=True)
        derived = ScanKernel(
            whole, x if first is None else first.drive(x), state, weights, self.executor, gradients=False,
            features={} if first is None else {0: len(x)},
        )  # fmt: skip
        self.direction = derived.directions["inference"]
        value = WeightValues(zip(derived.trace.weights, weights, strict=True))
        self.weights = derived.packed(self.direction, value)
        if first is not None:
            width = derived.plan.drive_widths[0]
            nothing = first.weight.new_zeros(width + self.executor.lanes)
            self.weights |= {INPUT[1]: pack(first.weight, kind=self.executor.kind), INPUT[2]: nothing}
        # A number that only the caller knows how to bound: how many rows the tables have that x chooses from.
        self.tables = [len(self.weights[base]) for base in self.direction.program.tables]
        self.widths = derived.plan.state_widths
        self.inputs = [name for name in self.direction.program.arrays if name in X]
        self.together = 0 if first is None else TOGETHER  # rows of x, beside those of a step, that a product takes
        self.x_width = x.numel()
        self.y_shape = tuple(derived.trace.out.meta["val"].shape[1:])
        self.address = self.executor.compiled(self.direction)


class Stream:
    """Some sequences that a kernel reads side by side, and their states: `states`, [B, features] each.

    The call is laid out beforehand as the array of integers that machine code takes; a step writes three of them. Where
    one row's weights are too many for a core's own cache, all threads read them together.
    """

    def __init__(self, kernel: StreamKernel, rows: int) -> None:
        self.kernel, self.rows = kernel, rows
        self.states = [torch.zeros(rows, width, dtype=kernel.dtype) for width in kernel.widths]
        direction, owner = kernel.direction, kernel.executor
        self.held = {name: w.data_ptr() for name, w in kernel.weights.items()}
        for i, state in enumerate(self.states):
            self.held |= dict.fromkeys((Buffer(kind, i) for kind in STATES), state.data_ptr())
        count = torch.get_num_threads()
        if rows >= count or not pays(kernel.weights[name] for name in direction.program.columns):
            count = 1
        # What no call has touched yet takes no memory: much of it is for chunks.
        self.scratch = torch.empty(count + 1, owner.scratch(direction, rows), dtype=kernel.dtype)
        *self.x, self.y = (HEAD + direction.program.arrays.index(name) for name in (*kernel.inputs, OUT))
        alone = self._words(self.scratch[count], owner.multiply, {})
        self.words, self.together = [alone], None
        self.crowd, self.since = Contention(1000), 0  # steps since the threads were asked how they fared
        if count > 1:
            matrices = {name: (kernel.weights[name], columns) for name, columns in direction.program.columns.items()}
            self.shares = ColumnShards(matrices, count, rows + kernel.together, owner.name, owner.multiply)
            multiply = product(owner.name)
            self.words += [self._words(self.scratch[k], multiply, self.shares.places[k]) for k in range(count)]
            jobs = [(kernel.address, ctypes.addressof(words)) for words in self.words]
            self.together = Abreast(jobs[1:], jobs[0])
        self.call, self.at = CALL(kernel.address), ctypes.addressof(alone)

    def _words(self, scratch: Tensor, multiply: int, places: Mapping[Buffer, int]) -> Any:
        held = {**self.held, **places}
        head = (1, 0, self.rows, self.rows, multiply, scratch.data_ptr(), 0, 0)
        assert len(head) == HEAD
        words = (*head, *(held.get(name, 0) for name in self.kernel.direction.program.arrays))
        return (ctypes.c_int64 * len(words))(*words)

    def run(self, x: int, steps: int, y: int) -> None:
        """Reads [B, steps, features] at the address x, writes [B, steps, features] to y, and moves the states."""
        for words in self.words:
            words[0], words[self.y] = steps, y
            for place in self.x:
                words[place] = x
        if self.together is None or self.crowd.alone():
            self.call(self.at)
            return
        began = time.perf_counter()
        self.together.run()
        self.since += steps
        if self.since >= ASKED or time.perf_counter() - began > LATE * steps:
            self.crowd.note(self.shares.given_way(), self.since)
            self.since = 0

    def load(self, states: Sequence[Tensor]) -> None:
        """Takes over the leaves of a state."""
        for mine, theirs in zip(self.states, states, strict=True):
            mine.copy_(theirs.reshape(mine.shape))
