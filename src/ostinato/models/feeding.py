"""The steps of a recurrent part whose input is known but for a share that each step gives the next one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .._torch import pytree
from ..layers import Stack
from ..recurrence import Affine
from ..recurrent import Cell, Recurrent

FedStep = Callable[[int, Tensor, Any], tuple[Tensor, Any]]


def opened(body: Recurrent[Any], e: Tensor, d_fed: int) -> FedStep:
    """`step(t, fed, state)` -> (y [B, ...], state): the body's step on [e_t; fed].

    Where the first part is a cell driven by products with its input, the share of e is computed for all steps at once.

    Args:
        e: [B, T, D]. d_fed: width of `fed` [B, d_fed].
    """
    first, *rest = list(body.parts) if type(body) is Stack else [body]
    drive = _drive(first, e, d_fed)
    if drive is None:
        return lambda t, fed, state: body.step(torch.cat([e[:, t], fed], dim=-1), state)
    step = _cell_step(first, drive, e.shape[-1])  # type: ignore[arg-type]
    if not rest:
        return step if body is first else _inside(step)

    def stacked(t: int, fed: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, begun = step(t, fed, state[0])
        after = [begun]
        for part, before in zip(rest, state[1:], strict=True):
            y, s = part.step(y, before)  # type: ignore[operator]
            after.append(s)
        return y, tuple(after)

    return stacked


def _inside(step: FedStep) -> FedStep:
    """The step of a cell that is a stack's only part."""

    def alone(t: int, fed: Tensor, state: Any) -> tuple[Tensor, Any]:
        y, after = step(t, fed, state[0])
        return y, (after,)

    return alone


def _drive(first: Any, e: Tensor, d_fed: int) -> Any:
    """The drive of a cell that consists of products with its whole input; None for any other part."""
    plain = isinstance(first, Cell) and type(first).scan is Cell.scan and type(first).emit is Cell.emit
    if not plain:
        return None
    x = torch.cat([e, e.new_zeros(*e.shape[:2], d_fed)], dim=-1)
    drive = first.drive(x)
    products = pytree.tree_leaves(drive, is_leaf=_affine)
    if not all(_affine(leaf) and leaf.x is x for leaf in products):
        return None
    for leaf in products:
        leaf.check()
    return drive


def _cell_step(cell: Cell[Any], drive: Any, width: int) -> FedStep:
    products, spec = pytree.tree_flatten(drive, is_leaf=_affine)
    whole = [F.linear(p.x[..., :width], p.weight[:, :width], p.bias) for p in products]
    shares = [StepProduct(y, p.weight[:, width:]) for y, p in zip(whole, products, strict=True)]
    weights = cell.weights()

    def step(t: int, fed: Tensor, state: Any) -> tuple[Tensor, Any]:
        now = pytree.tree_unflatten([share(t, fed) for share in shares], spec)
        out, after, _ = cell.recurrence.step(now, state, *weights)
        return out, after

    return step


class StepProduct:
    """y_t + x_t W^T for one step after the other, where y [B, T, G] is known before the first one."""

    def __init__(self, known: Tensor, weight: Tensor) -> None:
        device = weight.device.type
        if torch.is_autocast_enabled(device):  # which would round a part of a matrix anew for each step
            weight = weight.to(torch.get_autocast_dtype(device))
        self.known, self.weight = known.unbind(1), weight

    def __call__(self, t: int, x: Tensor) -> Tensor:
        return self.known[t] + F.linear(x, self.weight)


def _affine(leaf: Any) -> bool:
    return isinstance(leaf, Affine)
