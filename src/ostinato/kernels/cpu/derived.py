"""A recurrence as a kernel: plan and source of both directions, and what runs around them."""

import copy
import functools
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..lower.evaluate import Evaluated
from ..lower.ir import ancestors
from ..lower.plan import Factor, plan
from ..lower.read import read
from ..lower.trace import Step, trace
from ..table import Affine, inputs
from .direction import Along, Direction, Machine, Options, Outer, Run
from .emit import Emitter
from .frame import frame

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
        Outside: an operation of the step is outside the vocabulary.
    """

    def __init__(
        self, recurrence: Any, drive: Any, state: Any, weights: Sequence[Tensor], machine: Machine,
        gradients: bool = True, features: Mapping[int, int] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.recurrence, self.machine, replayed = recurrence, machine, getattr(recurrence, "replayed", False)
        self.drive_spec, self.state_spec = pytree.tree_structure(drive), pytree.tree_structure(state)
        self.plan = plan(read(trace(step_of(recurrence), drive, state, weights, gradients, replayed)))
        self.trace = self.plan.reading.trace
        self.names = ("forward", "backward", "inference") if gradients else ("inference",)
        self.inside = {i: n for i, n in features.items() if not self._backward_wants(f"drive{i}")}

    def _backward_wants(self, array: str) -> bool:
        nodes = ancestors(node for node, _ in self.plan.backward)
        factors = {factor.array for _, *pair in self.plan.products for factor in pair}
        return array in factors or any(n.op == "in" and f"{n.attr[0]}{n.attr[1]}" == array for n in nodes)

    def outside(self) -> "Derived":
        """The same for a drive that is given whole."""
        other = copy.copy(self)
        other.inside = {}
        other.__dict__.pop("directions", None)
        return other

    @functools.cached_property
    def directions(self) -> dict[str, Direction]:
        """ "forward", "backward", and "inference": forward that keeps nothing."""
        return {name: self._direction(name) for name in self.names}

    def _direction(self, name: str) -> Direction:
        emitter = Emitter(self.plan, name, self.machine.lanes, self.inside)
        source, arrays, room, beside = frame(emitter)
        vectors = {base: node.attr for node, base in emitter.vectors.items()}
        tables = {base: node.attr[1] for node, base in emitter.tables.items()}
        columns = {f"m{i}": node.meta["val"].shape[1] for i, node in enumerate(self.plan.reading.matrices)}
        columns |= {f"mdrive{i}": self.plan.sequences[f"drive{i}"] for i in self.inside}
        columns = {name: columns[name] for name in arrays if name in columns}
        return Direction(name, source, tuple(arrays), room, beside, vectors, tables, columns)

    def forward(
        self, drive: Sequence[Tensor | None], start: Sequence[Tensor], weights: Sequence[Tensor], options: Options,
        keep: bool = True,
    ) -> Work[tuple[Tensor, list[Tensor], list[Tensor]]]:  # fmt: skip
        """(out [B, T, H], the states after the last step, what backward wants: `plan.forward_arrays`, if kept)."""
        leaves = self.leaves(drive)
        rows, steps = inputs(leaves[0])[0].shape[:2]
        direction = self.directions["forward" if keep else "inference"]
        across = {f"mdrive{i}": leaf.weight.t() for i, leaf in enumerate(leaves) if isinstance(leaf, Affine)}
        arrays = self.packed(direction, Evaluated(zip(self.trace.weights, weights, strict=True)), across)
        arrays |= self._states(start, options, last="last")
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, Affine):
                shift = self._with_room(leaf.bias, len(leaf.weight), leaf.x)
                arrays |= {f"xdrive{i}": leaf.x, f"bdrive{i}": shift}
            else:
                arrays[f"drive{i}"] = leaf
        self._over_time(direction, arrays, options.lengths, rows, steps)
        yield Run(direction, rows, steps, arrays, options)
        last = [arrays[f"last{i}"] for i in range(len(start))]
        return arrays["out"], last, [arrays[name] for name in self.plan.forward_arrays if keep]

    def backward(
        self, drive: Sequence[Tensor | None], start: Sequence[Tensor], weights: Sequence[Tensor], options: Options,
        kept: Sequence[Tensor], cot: Tensor, dlast: Sequence[Tensor], needs: Sequence[bool] | None = None,
    ) -> Work[tuple[list[Tensor | None], list[Tensor], list[Tensor | None], list[Tensor]]]:  # fmt: skip
        """Gradients of (drive, start, weights, initial states); needs: of what is given for the drive, all if None."""
        rows, steps = cot.shape[:2]
        direction = self.directions["backward"]
        value = Evaluated(zip(self.trace.weights, weights, strict=True))
        leaves, wanted = self.leaves(drive), self.leaves([True] * len(drive) if needs is None else needs)
        made = [(f"{i}", *pair) for i, pair in enumerate(zip(leaves, wanted, strict=True)) if i in self.inside]
        arrays = self.packed(direction, value, {f"along{i}": leaf.weight for i, leaf, needs in made if needs.x})
        arrays |= dict(zip(self.plan.forward_arrays, kept, strict=True))
        arrays |= self._states(start, options, last="dfirst")
        arrays |= {f"dlast{i}": d for i, d in enumerate(dlast)}
        arrays |= {f"dinitial{i}": torch.zeros_like(s) for i, s in enumerate(start)}
        arrays |= {f"drive{i}": d for i, d in enumerate(leaves) if i not in self.inside}
        arrays |= {"cot": cot, "sums": cot.new_zeros(rows, max(1, self.plan.sums))}
        self._over_time(direction, arrays, options.lengths, rows, steps)
        yield Run(direction, rows, steps, arrays, options)
        outers = [self._outer(left, right, arrays, start, options) for _, left, right in self.plan.products]
        inner = len(outers)
        outers += [Outer(arrays[f"ddrive{i}"], leaf.x) for i, leaf, needs in made if needs.weight or needs.bias]
        alongs = [
            Along(arrays[f"ddrive{i}"], arrays[f"along{i}"], leaf.x.shape[2]) for i, leaf, needs in made if needs.x
        ]
        products, slopes = self.machine.products(outers, alongs, options.lengths)
        for (node, left, right), (product, _) in zip(self.plan.products, products[:inner], strict=True):
            value.known[node] = product.T if left.before and not right.before else product
        for node, at, width in self.plan.totals:
            value.known[node] = arrays["sums"][:, at : at + width].sum(0).reshape(node.meta["val"].shape)
        ddrive = self._of_drive(leaves, wanted, arrays, iter(products[inner:]), iter(slopes))
        dstart = [arrays[f"dfirst{i}"] for i in range(len(start))]
        dinitial = [arrays[f"dinitial{i}"] for i in range(len(options.initial))]
        return ddrive, dstart, [value(x) for x in self.trace.dweights], dinitial

    def _of_drive(
        self, leaves: Sequence[Any], wanted: Sequence[Any], arrays: dict[str, Tensor],
        products: Iterator[tuple[Tensor, Tensor]], slopes: Iterator[Tensor],
    ) -> list[Tensor | None]:  # fmt: skip
        """The gradients of what was given for the drive."""
        found: list[Tensor | None] = []
        for i, needs in enumerate(wanted):
            if i not in self.inside:
                found.append(arrays[f"ddrive{i}"] if needs else None)
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
        fresh = None if initial is None else pytree.tree_unflatten(list(initial), self.state_spec)
        trees = (pytree.tree_unflatten(list(t), s) for t, s in ((drive, self.drive_spec), (start, self.state_spec)))
        steps = list(self.recurrence.walk(*trees, *weights, lengths=lengths, resets=resets, initial=fresh))
        return [torch.stack([step.out for step in steps], dim=1), *pytree.tree_leaves(steps[-1].state)]

    def packed(
        self, direction: Direction, value: Evaluated, others: Mapping[str, Tensor] = MappingProxyType({})
    ) -> dict[str, Tensor]:
        """A direction's weights: tables, vectors with room for a whole vector past their end, packed matrices.

        Others [K, N] are packed with them.
        """
        found = {base: value(node).contiguous() for base, node in direction.tables.items()}
        for base, node in direction.vectors.items():
            vector = value(node).reshape(-1).to(self.trace.out.meta["val"].dtype)  # whole numbers too
            found[base] = self._with_room(vector, len(vector), vector)
        of = self.plan.reading.matrices
        matrices = {name: value(of[int(name[1:])]) for name in direction.columns if not name.startswith("mdrive")}
        matrices |= others
        return found | dict(zip(matrices, self.machine.packs([*matrices.values()]), strict=True))

    def _with_room(self, vector: Tensor | None, width: int, like: Tensor) -> Tensor:
        """A vector, or zeros, with room for a whole vector past its end."""
        found = like.new_zeros(width + self.machine.lanes)
        if vector is not None:
            found[:width] = vector
        return found

    def _states(self, start: Sequence[Tensor], options: Options, last: str) -> dict[str, Tensor]:
        found = {f"start{i}": s for i, s in enumerate(start)}
        found |= {f"initial{i}": s for i, s in enumerate(options.initial or start)}
        return found | {f"{last}{i}": torch.empty_like(s) for i, s in enumerate(start)}

    def _over_time(self, direction: Direction, arrays: dict[str, Tensor], lengths: Tensor | None, *size: int) -> None:
        """The arrays over time that the direction writes; zero where rows have ended."""
        names = [name for name in direction.arrays if name in self.plan.sequences and name not in arrays]
        made = {name: self.machine.empty(*size, self.plan.sequences[name]) for name in names}
        if lengths is not None:
            self.machine.clear([*made.values()], lengths)
        arrays |= made

    def _outer(
        self, left: Factor, right: Factor, arrays: dict[str, Tensor], start: Sequence[Tensor], options: Options
    ) -> Outer:
        """What makes the gradient of a matrix; turned, where only its left factor is one step late."""
        if left.before and not right.before:
            return self._outer(right, left, arrays, start, options)
        a = self._factor(left, arrays, start, options)
        if not right.before or left.before or options.resets is not None:
            return Outer(a, self._factor(right, arrays, start, options))
        number = int(right.array.removeprefix("state"))
        return Outer(a, arrays[self.plan.history[number]], start[number])

    def _factor(self, factor: Factor, arrays: dict[str, Tensor], start: Sequence[Tensor], options: Options) -> Tensor:
        """One side of a matrix's gradient, [B, T, width]."""
        if not factor.before:
            return arrays[factor.array][..., factor.at : factor.at + factor.width]
        number = int(factor.array.removeprefix("state"))
        after = arrays[self.plan.history[number]]
        before = torch.cat([start[number][:, None], after[:, :-1]], dim=1)
        if options.resets is not None:
            initial = (options.initial or start)[number]
            before = torch.where(options.resets[..., None] != 0, initial[:, None], before)
        return before
