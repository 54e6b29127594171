"""A derived scan as torch sees it: kernels by widths and dtype, autograd, rows sorted by length."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..lower import Outside, written_at
from ..table import Affine
from .derived import Derived, Options, step_of
from .machine import machine

_DERIVED: dict[Any, Derived | str] = {}  # a kernel, or why there is none


def why_not(recurrence: Any, drive: Any, state: Any, weights: Sequence[Tensor]) -> str | None:
    """Why no kernel can be derived, in words; None where one can."""
    found = derived(recurrence, drive, state, weights)
    return found if isinstance(found, str) else None


def run(
    recurrence: Any, drive: Any, state: Any, weights: Sequence[Tensor], lengths: Tensor | None, resets: Tensor | None,
    initial: Any,
) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
    """(out [B, T, ...], the leaves of the state after each row's last step)."""
    kernel = derived(recurrence, drive, state, weights)
    assert isinstance(kernel, Derived)
    _check(drive, state, lengths, resets, initial)
    order = None
    if lengths is not None:
        # The longest first: so the rows that are still read are the first ones, and padding costs nothing.
        lengths, order = lengths.sort(descending=True, stable=True)
        if isinstance(drive, Affine):
            drive = drive._replace(x=_taken(drive.x, order))
        else:
            drive = pytree.tree_map(lambda t: _taken(t, order), drive)
        state, initial, resets = pytree.tree_map(lambda t: _taken(t, order), (state, initial, resets))
    leaves = _drive(kernel, drive)
    start = pytree.tree_leaves(state)
    dtype = leaves[0].dtype
    fresh: list[Tensor] = []
    if resets is not None:
        fresh = pytree.tree_leaves(initial) if initial is not None else [torch.zeros_like(s) for s in start]
    marks = tuple(None if t is None else t.to(dtype) for t in (lengths, resets))
    counts = (len(leaves), len(start), len(weights), len(fresh))
    tensors = [t.contiguous() for t in (*leaves, *start)] + [*weights] + [t.contiguous() for t in fresh]
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        out, *last = Scan.apply(kernel, marks, counts, *tensors)
    else:
        drives, starts, plain, initials = _parts([t.detach() for t in tensors], counts)
        out, last, _ = kernel.forward(drives, starts, plain, _options(marks, initials), keep=False)
    if order is not None:
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        out, *last = (t.index_select(0, back) for t in (out, *last))
    return out, tuple(last)


def _taken(t: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if t is None else t.index_select(0, rows)


def derived(recurrence: Any, drive: Any, state: Any, weights: Sequence[Tensor]) -> Derived | str:
    """The kernel of a recurrence for these widths and this dtype, or why there is none, in words."""
    rows = _row(drive), pytree.tree_map(lambda s: s[:1], state)
    flat, spec = pytree.tree_flatten(rows)
    shapes = tuple(tuple(t.shape[1:]) for t in flat), tuple(tuple(w.shape) for w in weights)
    key = (recurrence.gates, recurrence.update, spec, shapes, flat[0].dtype)
    if key not in _DERIVED:
        _DERIVED[key] = _derive(recurrence, *rows, weights)
    return _DERIVED[key]


def _row(drive: Any) -> Any:
    """A drive's shapes for one row and one step: [1, features]."""
    if isinstance(drive, Affine):
        return drive.x.new_empty(1, drive.weight.shape[0])
    return pytree.tree_map(lambda d: d[:1, 0], drive)


def _derive(recurrence: Any, drive: Any, state: Any, weights: Sequence[Tensor]) -> Derived | str:
    plain = [w.detach() for w in weights]
    try:
        row, start = pytree.tree_map(lambda t: t[0].detach(), (drive, state))
        return Derived(recurrence, row, start, plain, machine(pytree.tree_leaves(drive)[0].dtype))
    except Outside as error:
        functions = [f for f in (recurrence.gates, recurrence.update) if f is not None]
        line = written_at(error.op, step_of(recurrence), functions, (drive, state, *plain)) if error.op else ""
        return f"{error}" + (f" ({line})" if line else "")
    except Exception as error:
        # What a tracer cannot follow, such as a branch on values, raises anything; the reference runs it, or tells.
        return f"its step cannot be traced ({type(error).__name__}: {str(error).strip().splitlines()[0]})"


def _check(drive: Any, state: Any, lengths: Tensor | None, resets: Tensor | None, initial: Any) -> None:
    """A kernel trusts its shapes; torch's own operations would have checked them."""
    rows, steps = pytree.tree_leaves(tuple(drive) if isinstance(drive, Affine) else drive)[0].shape[:2]
    for leaf in pytree.tree_leaves((state, [] if initial is None else initial)):
        if len(leaf) != rows:
            raise ValueError(f"each leaf of the state must have {rows} rows, and one is {tuple(leaf.shape)}")
    for name, given, shape in (("lengths", lengths, (rows,)), ("resets", resets, (rows, steps))):
        if given is not None and tuple(given.shape) != shape:
            raise ValueError(f"{name} must have the shape {shape}, and have {tuple(given.shape)}")


def _drive(kernel: Derived, drive: Any) -> list[Tensor]:
    """The drive's leaves, [B, T, features] each."""
    if not isinstance(drive, Affine):
        return pytree.tree_leaves(drive)
    drive.check()
    return [Product.apply(kernel.machine, drive.x.contiguous(), drive.weight, drive.bias)]


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
        dx = ctx.machine.linear(dy, weight, None) if needs[1] else None
        dw, db = ctx.machine.outer_and_total(dy, x) if needs[2] or needs[3] else (None, None)
        return None, dx, dw, db if needs[3] else None


class Scan(torch.autograd.Function):
    """(derived, (lengths, resets), counts of leaves, drive, start, weights, initial) -> (out, states)."""

    @staticmethod
    def forward(ctx: Any, derived: Derived, marks: Any, counts: Any, *tensors: Tensor) -> Any:
        drive, start, weights, initial = _parts(tensors, counts)
        options = _options(marks, initial)
        out, last, kept = derived.forward(drive, start, weights, options)
        ctx.derived, ctx.marks, ctx.counts = derived, marks, counts
        ctx.save_for_backward(*tensors, *(out if k is out else k for k in kept))
        return out, *last

    @staticmethod
    def backward(ctx: Any, *cots: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        size = sum(ctx.counts)
        tensors, kept = ctx.saved_tensors[:size], ctx.saved_tensors[size:]
        if torch.is_grad_enabled():  # create_graph: by the reference loop, whose gradient has a derivative
            return None, None, None, *_again(ctx.derived, ctx.marks, ctx.counts, tensors, cots)
        drive, start, weights, initial = _parts(tensors, ctx.counts)
        options = _options(ctx.marks, initial)
        cot, *dlast = (c.contiguous() for c in cots)
        groups = ctx.derived.backward(drive, start, weights, options, kept, cot, dlast)
        return None, None, None, *(g for group in groups for g in group)


def _again(
    kernel: Derived, marks: Sequence[Tensor | None], counts: Sequence[int], tensors: Sequence[Tensor],
    cots: Sequence[Tensor],
) -> Sequence[Tensor | None]:  # fmt: skip
    """The gradients with a graph of their own."""
    drive, start, weights, initial = _parts(tensors, counts)
    lengths, resets = marks
    results = kernel.walk(
        drive, start, weights, lengths=None if lengths is None else lengths.long(),
        resets=None if resets is None else resets != 0, initial=initial or None,
    )  # fmt: skip
    ends = [(r, c) for r, c in zip(results, cots, strict=True) if r.requires_grad]
    wanted = [t for t in tensors if t.requires_grad]
    outputs, slopes = zip(*ends, strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, slopes, create_graph=True, allow_unused=True))
    return [next(found) if t.requires_grad else None for t in tensors]


def _options(marks: Sequence[Tensor | None], initial: Sequence[Tensor]) -> Options:
    return Options(marks[0], marks[1], tuple(initial))


def _parts(tensors: Sequence[Tensor], counts: Sequence[int]) -> list[list[Tensor]]:
    found, at = [], 0
    for count in counts:
        found.append(list(tensors[at : at + count]))
        at += count
    return found
