"""A recurrence as a kernel: plan and source of both directions, and what runs around them."""

import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..compiler import CompiledStep, Direction, compile_step
from ..ir.buffers import OUT, OUT_GRADIENT, SUMS, Buffer, Kind
from ..lower.weight_graph import WeightValues
from ..passes.plan import Factor, Plan
from ..table import Affine, inputs
from ..trace.tracer import Step
from .direction import Along, Arrays, Machine, Options, Outer, Run
from .leaves import as_leaf, as_rows

T = TypeVar("T")
Work = Generator[Run, None, T]  # gives one run away, which somebody does, and then has its result


def together(machine: Machine, works: Sequence[Work[T]]) -> list[T]:
    """The results of some works that do not depend on each other: their runs are done at once."""
    machine.launch([next(work) for work in works])
    return [_rest(work) for work in works]


def _rest(work: Work[T]) -> T:
    try:
        next(work)
    except StopIteration as end:
        return end.value
    raise AssertionError("a work gives one run away")


def step_of(recurrence: Any) -> Step:
    """(drive, state, *weights) -> (out, state), on trees of rows."""

    def step(drive: Any, state: Any, *weights: Tensor) -> Any:
        return recurrence.step(drive, state, *weights)[:2]

    return step


class Derived:
    """A step, derived for one choice of widths.

    Args:
        recurrence: its `step` is derived; its `walk` is the reference.
        drive, state: trees of one row each, [features].
        weights: whose values do not matter.
        gradients: False: the step alone is derived, and runs in the direction "inference".
        features: of x, by the number of each leaf of the drive that is a product with it, x W + b: forward then
            makes that in small parts, if backward does not want it. `inside` says of which leaves it does; each of
            these is given as three, (x, weight, bias or None).

    Raises:
        Unsupported: an operation of the step is outside the vocabulary.
    """

    def __init__(
        self, recurrence: Any, drive: Any, state: Any, weights: Sequence[Tensor], machine: Machine,
        gradients: bool = True, features: Mapping[int, int] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.recurrence, self.machine, replayed = recurrence, machine, getattr(recurrence, "replayed", False)
        self.drive_spec, self.state_spec = pytree.tree_structure(drive), pytree.tree_structure(state)
        step, lanes = step_of(recurrence), machine.lanes
        self.compiled = compile_step(step, drive, state, weights, lanes, gradients, features, replayed)
        self.trace = self.plan.reading.trace

    @property
    def plan(self) -> Plan:
        return self.compiled.plan

    @property
    def inside(self) -> Mapping[int, int]:
        return self.compiled.inputs

    @property
    def directions(self) -> dict[str, Direction]:
        """ "forward", "backward", and "inference": forward that keeps nothing."""
        return self.compiled.directions

    def outside(self) -> "Derived":
        """The same for a drive that is given whole."""
        other = copy.copy(self)
        other.compiled = CompiledStep(self.plan, self.compiled.names, self.compiled.lanes, {})
        return other

    def forward(
        self, drive: Sequence[Tensor | None], start: Sequence[Tensor], weights: Sequence[Tensor], options: Options,
        keep: bool = True,
    ) -> Work[tuple[Tensor, list[Tensor], list[Tensor]]]:  # fmt: skip
        """(out [B, T, H], the states after the last step, what backward wants: `plan.forward_arrays`, if kept)."""
        leaves = self.leaves(drive)
        rows, steps = inputs(leaves[0])[0].shape[:2]
        direction = self.directions["forward" if keep else "inference"]
        affine = [(i, leaf) for i, leaf in enumerate(leaves) if isinstance(leaf, Affine)]
        across = {Buffer(Kind.INPUT_MATRIX, i): leaf.weight.t() for i, leaf in affine}
        arrays = self.packed(direction, WeightValues(zip(self.trace.weights, weights, strict=True)), across)
        arrays |= self._states(start, options, Kind.LAST)
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, Affine):
                shift = self._with_room(leaf.bias, len(leaf.weight), leaf.x)
                arrays |= {Buffer(Kind.INPUT, i): leaf.x, Buffer(Kind.INPUT_BIAS, i): shift}
            else:
                arrays[Buffer(Kind.DRIVE, i)] = leaf
        self._over_time(direction, arrays, options.lengths, rows, steps)
        yield Run(direction, rows, steps, arrays, options)
        last = [arrays[Buffer(Kind.LAST, i)] for i in range(len(start))]
        return arrays[OUT], last, [arrays[name] for name in self.plan.forward_arrays if keep]

    def backward(
        self, drive: Sequence[Tensor | None], start: Sequence[Tensor], weights: Sequence[Tensor], options: Options,
        kept: Sequence[Tensor], cot: Tensor, dlast: Sequence[Tensor], needs: Sequence[bool] | None = None,
    ) -> Work[tuple[list[Tensor | None], list[Tensor], list[Tensor | None], list[Tensor]]]:  # fmt: skip
        """Gradients of (drive, start, weights, initial states); needs: of what is given for the drive, all if None."""
        rows, steps = cot.shape[:2]
        direction = self.directions["backward"]
        value = WeightValues(zip(self.trace.weights, weights, strict=True))
        leaves, wanted = self.leaves(drive), self.leaves([True] * len(drive) if needs is None else needs)
        made = [(i, *pair) for i, pair in enumerate(zip(leaves, wanted, strict=True)) if i in self.inside]
        inputs_too = [(i, leaf) for i, leaf, needs in made if needs.x]
        turned = {Buffer(Kind.INPUT_TURNED, i): leaf.weight for i, leaf in inputs_too}
        arrays = self.packed(direction, value, turned)
        arrays |= dict(zip(self.plan.forward_arrays, kept, strict=True))
        arrays |= self._states(start, options, Kind.START_GRADIENT)
        arrays |= {Buffer(Kind.LAST_GRADIENT, i): d for i, d in enumerate(dlast)}
        arrays |= {Buffer(Kind.INITIAL_GRADIENT, i): torch.zeros_like(s) for i, s in enumerate(start)}
        arrays |= {Buffer(Kind.DRIVE, i): d for i, d in enumerate(leaves) if i not in self.inside}
        arrays |= {OUT_GRADIENT: cot, SUMS: cot.new_zeros(rows, max(1, self.plan.sums))}
        self._over_time(direction, arrays, options.lengths, rows, steps)
        yield Run(direction, rows, steps, arrays, options)
        of_matrices = self._of_matrices(arrays, start, options)
        gradients = {i: arrays[Buffer(Kind.DRIVE_GRADIENT, i)] for i in self.inside}
        outers = [Outer(gradients[i], leaf.x) for i, leaf, needs in made if needs.weight or needs.bias]
        matrices = [arrays[buffer] for buffer in turned]
        alongs = [Along(gradients[i], m, leaf.x.shape[2]) for (i, leaf), m in zip(inputs_too, matrices, strict=True)]
        products, slopes = self.machine.products([*of_matrices.get(1, ()), *outers], alongs, options.lengths)
        inner = len(of_matrices.get(1, ()))
        each = {1: iter(products[:inner])}
        for count, some in of_matrices.items():
            if count > 1:
                lengths = None if options.lengths is None else options.lengths * count
                each[count] = iter(self.machine.products(some, [], lengths)[0])
        for node, left, right, count in self.plan.products:
            product, _ = next(each[count])
            value.known[node] = product.T if left.before and not right.before else product
        for node, at, width in self.plan.totals:
            value.known[node] = arrays[SUMS][:, at : at + width].sum(0).reshape(node.meta["val"].shape)
        ddrive = self._of_drive(leaves, wanted, arrays, iter(products[inner:]), iter(slopes))
        dstart = [arrays[Buffer(Kind.START_GRADIENT, i)] for i in range(len(start))]
        dinitial = [arrays[Buffer(Kind.INITIAL_GRADIENT, i)] for i in range(len(options.initial))]
        return ddrive, dstart, [value(x) for x in self.trace.dweights], dinitial

    def _of_matrices(self, arrays: Arrays, start: Sequence[Tensor], options: Options) -> dict[int, list[Outer]]:
        """The products that make the gradients of matrices, by how many rows each row of the batch has there."""
        found: dict[int, list[Outer]] = {}
        for _, left, right, count in self.plan.products:
            outer = self._outer(left, right, arrays, start, options, late=count == 1)
            if count > 1:
                a, b = (t.contiguous().view(len(t), t.shape[1] * count, -1) for t in outer[:2])
                outer = Outer(a, b)
            found.setdefault(count, []).append(outer)
        return found

    def _of_drive(
        self, leaves: Sequence[Any], wanted: Sequence[Any], arrays: Arrays,
        products: Iterator[tuple[Tensor, Tensor]], slopes: Iterator[Tensor],
    ) -> list[Tensor | None]:  # fmt: skip
        """The gradients of what was given for the drive."""
        found: list[Tensor | None] = []
        for i, needs in enumerate(wanted):
            if i not in self.inside:
                found.append(arrays[Buffer(Kind.DRIVE_GRADIENT, i)] if needs else None)
                continue
            dw, db = next(products) if needs.weight or needs.bias else (None, None)
            found += (next(slopes) if needs.x else None, dw, db if needs.bias else None)
        return found

    def leaves(self, drive: Sequence[Any]) -> list[Any]:
        """The leaves of the drive, an `Affine` for each that is made inside."""
        found, given = [], iter(drive)
        for i, _ in enumerate(self.plan.drive_widths):
            found.append(Affine(next(given), next(given), next(given)) if i in self.inside else next(given))
        return found

    def walk(
        self, drive: Sequence[Tensor], start: Sequence[Tensor], weights: Sequence[Tensor],
        lengths: Tensor | None, resets: Tensor | None, initial: Sequence[Tensor] | None,
    ) -> list[Tensor]:  # fmt: skip
        """What `forward` gives (out, then the states), by the reference loop."""
        sizes = [node.meta["val"].shape[1:] for node in self.trace.drive]
        leaves = [d if isinstance(d, Affine) else as_leaf(d, 2, s) for d, s in zip(drive, sizes, strict=True)]
        state, fresh = (None if t is None else self.state_of(t) for t in (start, initial))
        driven = pytree.tree_unflatten(leaves, self.drive_spec)
        steps = list(self.recurrence.walk(driven, state, *weights, lengths=lengths, resets=resets, initial=fresh))
        out = torch.stack([step.out for step in steps], dim=1)
        return [as_rows(out, 2), *(as_rows(leaf, 1) for leaf in pytree.tree_leaves(steps[-1].state))]

    def state_of(self, rows: Sequence[Tensor]) -> Any:
        """A state of rows [B, width] as the recurrence has it."""
        return pytree.tree_unflatten(self.leaves_of_state(rows), self.state_spec)

    def leaves_of_state(self, rows: Sequence[Tensor]) -> list[Tensor]:
        sizes = [node.meta["val"].shape[1:] for node in self.trace.state]
        return [as_leaf(t, 1, s) for t, s in zip(rows, sizes, strict=True)]

    def out_of(self, rows: Tensor) -> Tensor:
        """An output of rows [B, T, width] as the recurrence gives it."""
        return as_leaf(rows, 2, self.trace.out.meta["val"].shape[1:])

    def packed(
        self, direction: Direction, value: WeightValues, others: Mapping[Buffer, Tensor] = MappingProxyType({})
    ) -> Arrays:
        """A direction's weights: tables, vectors with room for a whole vector past their end, packed matrices.

        Others [K, N] are packed with them.
        """
        found = {base: value(node).contiguous() for base, node in direction.program.tables.items()}
        for base, node in direction.program.vectors.items():
            vector = value(node).reshape(-1).to(self.trace.out.meta["val"].dtype)  # whole numbers too
            found[base] = self._with_room(vector, len(vector), vector)
        of = self.plan.reading.matrices
        columns = direction.program.columns
        matrices = {array: value(of[array.number]) for array in columns if array.kind is Kind.MATRIX}
        matrices |= others
        return found | dict(zip(matrices, self.machine.packs([*matrices.values()]), strict=True))

    def _with_room(self, vector: Tensor | None, width: int, like: Tensor) -> Tensor:
        """A vector, or zeros, with room for a whole vector past its end."""
        found = like.new_zeros(width + self.machine.lanes)
        if vector is not None:
            found[:width] = vector
        return found

    def _states(self, start: Sequence[Tensor], options: Options, last: Kind) -> Arrays:
        found = {Buffer(Kind.START, i): s for i, s in enumerate(start)}
        found |= {Buffer(Kind.INITIAL, i): s for i, s in enumerate(options.initial or start)}
        return found | {Buffer(last, i): torch.empty_like(s) for i, s in enumerate(start)}

    def _over_time(self, direction: Direction, arrays: Arrays, lengths: Tensor | None, *size: int) -> None:
        """The arrays over time that the direction writes; zero where rows have ended."""
        names = [name for name in direction.program.arrays if name in self.plan.sequences and name not in arrays]
        made = {name: self.machine.empty(*size, self.plan.sequences[name]) for name in names}
        if lengths is not None:
            self.machine.clear([*made.values()], lengths)
        arrays |= made

    def _outer(
        self, left: Factor, right: Factor, arrays: Arrays, start: Sequence[Tensor], options: Options, late: bool = True
    ) -> Outer:
        """What makes the gradient of a matrix; turned, where only its left factor is one step late.

        Args:
            late: whether the product may read its second factor one step late by itself.
        """
        if left.before and not right.before:
            return self._outer(right, left, arrays, start, options, late)
        a = self._factor(left, arrays, start, options)
        if not (late and right.before) or left.before or options.resets is not None:
            return Outer(a, self._factor(right, arrays, start, options))
        number = right.array.number
        return Outer(a, arrays[self.plan.history[number]], start[number])

    def _factor(self, factor: Factor, arrays: Arrays, start: Sequence[Tensor], options: Options) -> Tensor:
        """One side of a matrix's gradient, [B, T, width]."""
        if not factor.before:
            return arrays[factor.array][..., factor.at : factor.at + factor.width]
        number = factor.array.number
        after = arrays[self.plan.history[number]]
        before = torch.cat([start[number][:, None], after[:, :-1]], dim=1)
        if options.resets is not None:
            initial = (options.initial or start)[number]
            before = torch.where(options.resets[..., None] != 0, initial[:, None], before)
        return before
