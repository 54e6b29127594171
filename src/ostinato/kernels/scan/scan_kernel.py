"""A recurrence as a kernel: plan and source of both directions, and what runs around them."""

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..._torch import pytree
from ..compiler import CompiledStep, Direction, compile_step
from ..ir.buffers import OUT, Buffer, Kind
from ..lower.weight_graph import WeightValues
from ..passes.plan import Plan
from ..table import Affine, inputs
from ..trace.tracer import Step
from .leaves import as_leaf, as_rows
from .program import Arrays, Executor, Launch, Options, Work


def step_of(recurrence: Any) -> Step:
    """(drive, state, *weights) -> (out, state), on trees of rows."""

    def step(drive: Any, state: Any, *weights: Tensor) -> Any:
        return recurrence.step(drive, state, *weights)[:2]

    return step


class ScanKernel:
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
        self, recurrence: Any, drive: Any, state: Any, weights: Sequence[Tensor], executor: Executor,
        gradients: bool = True, features: Mapping[int, int] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.recurrence, self.executor, replayed = recurrence, executor, getattr(recurrence, "replayed", False)
        self.drive_spec, self.state_spec = pytree.tree_structure(drive), pytree.tree_structure(state)
        step, lanes = step_of(recurrence), executor.lanes
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

    def outside(self) -> "ScanKernel":
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
        arrays |= self.state_arrays(start, options, Kind.LAST)
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, Affine):
                shift = self._with_room(leaf.bias, len(leaf.weight), leaf.x)
                arrays |= {Buffer(Kind.INPUT, i): leaf.x, Buffer(Kind.INPUT_BIAS, i): shift}
            else:
                arrays[Buffer(Kind.DRIVE, i)] = leaf
        self.sequence_arrays(direction, arrays, options.lengths, rows, steps)
        yield Launch(direction, rows, steps, arrays, options)
        last = [arrays[Buffer(Kind.LAST, i)] for i in range(len(start))]
        return arrays[OUT], last, [arrays[name] for name in self.plan.forward_arrays if keep]

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
        return found | dict(zip(matrices, self.executor.packs([*matrices.values()]), strict=True))

    def _with_room(self, vector: Tensor | None, width: int, like: Tensor) -> Tensor:
        """A vector, or zeros, with room for a whole vector past its end."""
        found = like.new_zeros(width + self.executor.lanes)
        if vector is not None:
            found[:width] = vector
        return found

    def state_arrays(self, start: Sequence[Tensor], options: Options, last: Kind) -> Arrays:
        """The arrays of the states before the scan, after a reset, and of kind `last`."""
        found = {Buffer(Kind.START, i): s for i, s in enumerate(start)}
        found |= {Buffer(Kind.INITIAL, i): s for i, s in enumerate(options.initial or start)}
        return found | {Buffer(last, i): torch.empty_like(s) for i, s in enumerate(start)}

    def sequence_arrays(self, direction: Direction, arrays: Arrays, lengths: Tensor | None, *size: int) -> None:
        """The arrays over time that the direction writes; zero where rows have ended."""
        names = [
            name for name in direction.program.arrays
            if (name in self.plan.sequences or name.kind is Kind.CHECKPOINT) and name not in arrays
        ]  # fmt: skip
        made = {name: self.executor.empty(*self.plan.size_of(name, *size)) for name in names}
        if lengths is not None:
            self.executor.clear([array for name, array in made.items() if name in self.plan.sequences], lengths)
        arrays |= made
