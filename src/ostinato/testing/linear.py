"""The law of recurrences that say `linear`: their gates are known before the first step is taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .. import kernels, tree
from ..kernels import Call
from ..recurrent import Cell
from .cases import Case, broken, law, same, weighted


@law("linear means linear")
def law_linear_means_linear(case: Case) -> None:
    """The gates of a recurrence that says `linear` do not depend on the state: their Jacobian by it is zero.

    Of each cell that the part calls, at its first step; and the gates from another state are these, which finds a
    dependence that has no derivative.
    """
    with _recorded(case) as calls, torch.no_grad():
        case.part(case.x, case.state)
    for call in calls:
        if not call.recurrence.linear:
            continue
        if (slope := slope_of_gates(call)) != 0:
            what = f"the gates of {call.recurrence.name!r} have the slope {slope:.1e} by the state"
            broken(case, "linear means linear", f"{what}; leave `linear` out, or let `update` alone see the state")
        other = tree.map(lambda s: 1 - 2 * s.flip(0) if s.is_floating_point() else s.flip(0), call.state)
        gates = {"the gates from another state": (gates_of(call, other), gates_of(call, call.state))}
        same(case, "linear means linear", **gates)


def gates_of(call: Call, state: Any) -> Any:
    """The gates of a call's first step, from a state of one's own."""
    drive = tree.at(kernels.computed(call.drive), 0)
    recurrence = call.recurrence
    return drive if recurrence.gates is None else recurrence.gates(drive, state, *call.weights)


def slope_of_gates(call: Call) -> float:
    """How much a weighted sum of the first step's gates moves with the state: its largest derivative, by one vjp."""
    state = tree.map(lambda s: s.detach().clone(), call.state)
    floating = [leaf.requires_grad_() for leaf in tree.leaves(state) if leaf.is_floating_point()]
    with torch.enable_grad():
        total = weighted(gates_of(call, state))
    if not (floating and isinstance(total, Tensor) and total.requires_grad):
        return 0.0
    slopes = torch.autograd.grad(total, floating, materialize_grads=True)
    return max(slope.abs().max().item() for slope in slopes)


@contextmanager
def _recorded(case: Case) -> Iterator[list[Call]]:
    """The calls that the part's cells make of their recurrences inside the block."""
    calls: list[Call] = []
    cells = [part for part in case.part.modules() if isinstance(part, Cell)]

    def recording(call: Any) -> Any:
        def recorded(*given: Any) -> Call:
            calls.append(call(*given))
            return calls[-1]

        return recorded

    for cell in cells:
        vars(cell)["call"] = recording(cell.call)
    try:
        yield calls
    finally:
        for cell in cells:
            del vars(cell)["call"]
