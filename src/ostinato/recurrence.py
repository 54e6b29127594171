"""A recurrence: one time step, and the scan that repeats it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from . import kernels, tree
from ._torch import pytree
from .arguments import Unwritten, must_be_driven, must_mark, must_stand_for
from .kernels import Affine as Affine
from .kernels import Call
from .kernels.table import inputs
from .matching import both, matched, must_hold_tensors


class Step(NamedTuple):
    """One time step, seen from inside."""

    out: Tensor  # [B, ...]
    state: Any  # after this step; every leaf [B, ...]
    gates: Any  # what decided it


@dataclass(frozen=True)
class Recurrence:
    """One time step, `gates` then `update`, and the scan that repeats it.

    Both are pure functions of tensors and row-local: row b of the batch never sees row c. Without `gates`
    the drive already is the gates: the whole motion is known before the first step is taken.

    Attributes:
        name: kernels are registered under it, so it names the mathematics: same name, same result.
        update: (gates, state) -> (out, state).
        gates: (drive_t, state, *weights) -> gates; None: the drive is the gates.
        linear: the gates ignore the state.
    """

    name: str
    update: Callable[..., tuple[Tensor, Any]]
    gates: Callable[..., Any] | None = None
    linear: bool = False
    _itself: ClassVar["_Itself"]  # of each instance; no field, or Dynamo would compare it with the others

    def __post_init__(self) -> None:
        object.__setattr__(self, "_itself", _Itself(self))

    def step(self, drive: Any, state: Any, *weights: Tensor) -> Step:
        """One step from a drive whose leaves are [B, ...].

        Raises:
            ValueError: it does not give two things, or the output is not one tensor, or the state after the step is not
                built as the one before.
        """
        gates = drive if self.gates is None else self.gates(drive, state, *weights)
        out, after = both(self.update(gates, state))
        return Step(out, matched(after, state, "the state after the step", "the state before it"), gates)

    def walk(
        self,
        drive: Any,
        state: Any,
        *weights: Tensor,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        initial: Any = None,
    ) -> Iterator[Step]:
        """The reference scan, step by step, and the oracle of every kernel.

        Args:
            drive: a tree of [B, T, ...] and of `Affine`s.
            state: before the first step; every leaf [B, ...].
            lengths: [B] int64. Past its length a row rests: same state, output zero.
            resets: [B, T] bool. A new sequence begins AT that step, from `initial`.
            initial: the state that a reset returns to; zeros when None.

        Raises:
            ValueError: a tree is not built as the state is, or a leaf of one is no tensor; rows or steps differ;
                lengths or resets are none of this batch; a step writes into what it is given.
        """
        initial = _fitting(Call(self, drive, state, weights, lengths, resets, initial))
        drive = kernels.computed(drive if lengths is None else _within(drive, lengths))
        fresh = tree.map(torch.zeros_like, state) if initial is None else initial
        for t in range(tree.leaves(drive)[0].shape[1]):
            before = state if resets is None else tree.where(resets[:, t], fresh, state)
            now = tree.at(drive, t)
            unwritten = None if t else Unwritten(now, before)
            new = self.step(now, before, *weights)
            if unwritten:
                unwritten.must_be()
            if lengths is not None:
                rest = (torch.zeros_like(new.out), state)
                new = Step(*tree.where(t < lengths, new[:2], rest), new.gates)
            state = new.state
            yield new

    def scan(
        self,
        drive: Any,
        state: Any,
        *weights: Tensor,
        lengths: Tensor | None = None,
        resets: Tensor | None = None,
        initial: Any = None,
    ) -> tuple[Tensor, Any]:
        """All steps: (out [B, T, ...], the state after each row's last step). Arguments as for `walk`.

        Runs the fastest kernel that takes the call, else the walk; `explain` says which.
        """
        call = Call(self, drive, state, weights, lengths, resets, initial)
        call = call._replace(initial=_fitting(call))
        if not torch.compiler.is_compiling():
            return _scan(call)
        from .kernels.scan import dynamo_boundary

        # Dynamo gives trees of tensors and words to that call, and no None.
        given = {name: tree for name, tree in call.options.items() if tree is not None}
        affine = isinstance(drive, Affine)
        parts = tuple(t for t in drive if t is not None) if affine else kernels.computed(drive)
        out, *leaves = dynamo_boundary.scan(self._itself, kernels.forced() or "", affine, parts, state, weights, given)
        return out, tree.like(state, leaves)

    def explain(self, drive: Any, state: Any, *weights: Tensor, **options: Any) -> str:
        """Which kernel would run this call, and why not the others: one line a backend."""
        return kernels.explain(self, drive, state, *weights, **options)


def scans(calls: Sequence[Call]) -> list[tuple[Tensor, Any]]:
    """Scans that do not depend on each other, such as two directions, as `Recurrence.scan`: at once where it pays."""
    calls = [call._replace(initial=_fitting(call)) for call in calls]
    alone = len(calls) == 1 or torch.compiler.is_compiling()
    if alone or (found := kernels.at_once(calls)) is None:
        return [call.recurrence.scan(*call.arguments, **call.options) for call in calls]
    return found


def _fitting(call: Call) -> Any:
    """What a reset returns to, its leaves in the order of the state's, of a call that fits."""
    given = inputs(call.drive)
    must_hold_tensors(given, "the drive")
    must_hold_tensors(call.state, "the state")
    leaves = tree.leaves(call.state)
    must_mark(*must_be_driven(given, leaves), call.lengths, call.resets)
    if call.initial is None:
        return None
    initial = matched(call.initial, call.state, "initial")
    must_stand_for(tree.leaves(initial), leaves)
    return initial


def _scan(call: Call) -> tuple[Tensor, Any]:
    kernel = kernels.choose(call.recurrence, *call.arguments, **call.options)
    if kernel is not None:
        return kernels.run(kernel, call)
    outs, state = [], call.state
    for out, after, _ in call.recurrence.walk(*call.arguments, **call.options):
        outs.append(out)
        state = after
    return torch.stack(outs, dim=1), state


def _within(drive: Any, lengths: Tensor) -> Any:
    """The drive without NaN or infinity past each row's length, which would come back in gradients, as 0 times NaN.

    Other numbers stay: at zeros in their place a step might have no derivative.
    """

    def cut(leaf: Any) -> Any:
        if isinstance(leaf, Affine):
            return leaf._replace(x=cut(leaf.x))
        past = torch.arange(leaf.shape[1], device=leaf.device) >= lengths[:, None]
        return leaf.masked_fill(past.view(*past.shape, *[1] * (leaf.ndim - 2)) & ~leaf.isfinite(), 0.0)

    return pytree.tree_map(cut, drive, is_leaf=lambda leaf: isinstance(leaf, Affine))


class _Itself:
    """A recurrence as Dynamo takes it into a call that it does not look into; of a frozen dataclass it wants fields."""

    def __init__(self, recurrence: Recurrence) -> None:
        self.recurrence = recurrence

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.recurrence == other.recurrence

    def __hash__(self) -> int:
        return hash(self.recurrence)

    def scan(
        self, backend: str, affine: bool, drive: Any, state: Any, weights: tuple[Tensor, ...], options: dict[str, Any]
    ) -> list[Tensor]:
        """(drive, state, weights, options) as for `Recurrence.scan` -> [out, leaves..].

        It forces the backend, unless that is "". An affine drive comes as (x, weight), with the bias if there is one.
        """
        if affine:
            x, weight, *bias = drive
            drive = Affine(x, weight, bias[0] if bias else None)
        with kernels.backend(backend) if backend else nullcontext():
            return tree.leaves(_scan(Call(self.recurrence, drive, state, weights, **options)))


pytree.register_constant(_Itself)
