"""A derived scan, and the product before it, as functions that torch's autograd knows."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..table import Affine, computed
from .derived import Derived, Options

T = TypeVar("T")
Marks = Sequence[Tensor | None]  # lengths [B] and resets [B, T], in the dtype of the kernel


class Product(torch.autograd.Function):
    """x [..., K] times weight [N, K], plus bias [N]: torch's linear layer, beside whose threads no others spin."""

    @staticmethod
    def forward(ctx: Any, machine: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.machine = machine
        ctx.save_for_backward(x, weight)
        return machine.linear(x, weight.t(), bias)

    @staticmethod
    def backward(ctx: Any, *cots: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        dy, needs = cots[0].contiguous(), ctx.needs_input_grad
        if torch.is_grad_enabled():  # create_graph: by operations that have a derivative themselves
            rows, steps = dy.flatten(0, -2), x.flatten(0, -2)
            return None, dy @ weight, rows.t() @ steps, rows.sum(0) if needs[3] else None
        return None, *_of_product(ctx.machine, dy, x, weight, needs[1:])


def _of_product(
    machine: Any, dy: Tensor, x: Tensor, weight: Tensor, needs: Sequence[bool], lengths: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    """The gradients of x, weight and bias that are needed. Past its length a row of dy is zero."""
    dx = machine.linear(dy, weight, None, lengths) if needs[0] else None
    dw, db = machine.outer_and_total(dy, x, None, lengths) if any(needs[1:]) else (None, None)
    return dx, dw, db if needs[2] else None


class Scan(torch.autograd.Function):
    """(derived, (lengths, resets), counts of leaves, drive, start, weights, initial) -> (out, states).

    For a leaf of the drive that the kernel makes itself, x, weight and bias or None are given: see `Derived.leaves`.
    """

    @staticmethod
    def forward(ctx: Any, derived: Derived, marks: Marks, counts: Sequence[int], *tensors: Any) -> Any:
        drive, start, weights, initial = parts(tensors, counts)
        out, last, kept = derived.forward(drive, start, weights, options(marks, initial))
        ctx.derived, ctx.marks, ctx.counts = derived, marks, counts
        ctx.save_for_backward(*tensors, *(out if k is out else k for k in kept))
        return out, *last

    @staticmethod
    def backward(ctx: Any, *cots: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        size = sum(ctx.counts)
        saved = ctx.saved_tensors  # asked for once: checkpointing gives them once
        tensors, kept = saved[:size], saved[size:]
        if torch.is_grad_enabled():  # create_graph: by the reference loop, whose gradient has a derivative
            return None, None, None, *again(ctx.derived, ctx.marks, ctx.counts, tensors, cots)
        drive, start, weights, initial = parts(tensors, ctx.counts)
        cot, *dlast = (c.contiguous() for c in cots)
        derived, needs = ctx.derived, iter(ctx.needs_input_grad[3:])
        ddrive, *groups = derived.backward(drive, start, weights, options(ctx.marks, initial), kept, cot, dlast)
        found: list[Tensor | None] = []
        for leaf, dy in zip(derived.leaves(drive), ddrive, strict=True):
            if isinstance(leaf, Affine):
                wanted = [next(needs) for _ in leaf]
                found += _of_product(derived.machine, dy, leaf.x, leaf.weight, wanted, ctx.marks[0])
            else:
                found += [dy] if next(needs) else [None]
        return None, None, None, *found, *(g for group in groups for g in group)


def again(
    derived: Derived, marks: Marks, counts: Sequence[int], tensors: Sequence[Tensor], cots: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradients with a graph of their own."""
    drive, start, weights, initial = parts(tensors, counts)
    drive = [computed(leaf) for leaf in derived.leaves(drive)]
    lengths, resets = marks
    results = derived.walk(
        drive, start, weights, lengths=None if lengths is None else lengths.long(),
        resets=None if resets is None else resets != 0, initial=initial or None,
    )  # fmt: skip
    ends = [(r, c) for r, c in zip(results, cots, strict=True) if r.requires_grad]
    wanted = [t for t in tensors if t is not None and t.requires_grad]
    outputs, slopes = zip(*ends, strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, slopes, create_graph=True, allow_unused=True))
    return [next(found) if t is not None and t.requires_grad else None for t in tensors]


def options(marks: Marks, initial: Sequence[Tensor]) -> Options:
    return Options(marks[0], marks[1], tuple(initial))


def parts(tensors: Sequence[T], counts: Sequence[int]) -> list[list[T]]:
    """The tensors, or their gradients, in lists of so many each."""
    found, at = [], 0
    for count in counts:
        found.append(list(tensors[at : at + count]))
        at += count
    return found
