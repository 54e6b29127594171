"""A derived scan, and the product before it, as functions that torch's autograd knows."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from ... import tree
from .derived import Derived, together
from .direction import Along, Options, Outer

T = TypeVar("T")
Marks = Sequence[Tensor | None]  # lengths [B] and resets [B, T], in the dtype of the kernel


class Product(torch.autograd.Function):
    """x [B, T, K] times weight [N, K], plus bias [N]: torch's linear layer, beside whose threads no others spin.

    Past the lengths [B], in the dtype of x, nothing is computed, and zeros stand there.
    """

    @staticmethod
    def forward(
        ctx: Any, machine: Any, lengths: Tensor | None, x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.machine, ctx.lengths = machine, lengths
        ctx.save_for_backward(x, weight)
        return machine.linear(x, weight.t(), bias, lengths)

    @staticmethod
    def backward(ctx: Any, *cots: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        dy, needs = cots[0].contiguous(), ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # create_graph: by operations that have a derivative themselves
            dy, x = (tree.masked(t, ctx.lengths) for t in (dy, x))
            rows, steps = dy.flatten(0, -2), x.flatten(0, -2)
            return None, None, dy @ weight, rows.t() @ steps, rows.sum(0) if needs[2] else None
        outers = [Outer(dy, x)] if any(needs[1:]) else []
        alongs = [Along(dy, packed, x.shape[-1]) for packed in ctx.machine.packs([weight] if needs[0] else [])]
        products, slopes = ctx.machine.products(outers, alongs, ctx.lengths)
        dw, db = products[0] if products else (None, None)
        return None, None, slopes[0] if slopes else None, dw, db if needs[2] else None


class Laid(NamedTuple):
    """A scan beside its tensors: those of drive, start, weights and initial states are given one after the other.

    For a leaf of the drive that the kernel makes itself, x, weight and bias or None are given: see `Derived.leaves`.
    """

    derived: Derived
    marks: Marks
    counts: Sequence[int]  # of the tensors of each group


def in_turns(laid: Sequence[Laid], results: Sequence[Tensor]) -> list[tuple[Tensor, list[Tensor]]]:
    """Results of `Scan`, (out, states) of each scan."""
    sizes = [1 + one.counts[1] for one in laid]
    return [(out, last) for out, *last in parts(results, sizes)]


def forward(
    laid: Sequence[Laid], tensors: Sequence[Any], keep: bool = True
) -> list[tuple[Tensor, list[Tensor], list[Tensor]]]:
    """(out, the states after the last step, what backward wants) of each scan, all done at once."""
    works = []
    for one, given in zip(laid, parts(tensors, [sum(one.counts) for one in laid]), strict=True):
        drive, start, weights, initial = parts(given, one.counts)
        works.append(one.derived.forward(drive, start, weights, options(one.marks, initial), keep))
    return together(laid[0].derived.machine, works)


class Watch:
    """Whether somebody has written into a tensor since, or into a view of it; holds none of its memory."""

    def __init__(self, t: Tensor) -> None:
        self.count = t.detach()  # of what was written it has the same count
        self.count.data = t.new_empty(0)
        self.before = self.count._version

    def written(self) -> bool:
        return self.count._version != self.before


class Scan(torch.autograd.Function):
    """([Laid], tensors of all) -> (out, states) of each, one after the other. All are of one machine.

    An output may be written in place, as that of the loop, which is a copy: where backward wants it, the scan runs
    again. To keep a copy would cost everybody its memory.
    """

    @staticmethod
    def forward(ctx: Any, laid: Sequence[Laid], *tensors: Any) -> Any:
        found = forward(laid, tensors)
        ctx.laid, ctx.kept = laid, [len(kept) for *_, kept in found]
        # Outputs are no views, which nobody may write to, and what is kept has a count of its own.
        found = [(out.data, last, [k.data for k in kept], any(k is out for k in kept)) for out, last, kept in found]
        ctx.watches = [Watch(out) if wanted else None for out, _, _, wanted in found]
        ctx.save_for_backward(*tensors, *(k for _, _, kept, _ in found for k in kept))
        return tuple(t for out, last, *_ in found for t in (out, *last))

    @staticmethod
    def backward(ctx: Any, *cots: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        laid, saved = ctx.laid, ctx.saved_tensors  # asked for once: checkpointing gives them once
        sizes = [sum(one.counts) for one in laid]
        *given, rest = parts(saved, [*sizes, sum(ctx.kept)])
        slopes = in_turns(laid, cots)
        if torch.is_grad_enabled():  # create_graph: by the reference loop, whose gradient has a derivative
            twice = zip(laid, given, slopes, strict=True)
            found = [again(one, tensors, (cot, *dlast)) for one, tensors, (cot, dlast) in twice]
            return None, *(g for group in found for g in group)
        needs, works, keeps = parts(ctx.needs_input_grad[1:], sizes), [], parts(rest, ctx.kept)
        for i, watch in enumerate(ctx.watches):
            if watch is not None and watch.written():
                keeps[i] = forward([laid[i]], given[i])[0][2]
        for i, kept in enumerate(keeps):
            drive, start, weights, initial = parts(given[i], laid[i].counts)
            cot, *dlast = (c.contiguous() for c in (slopes[i][0], *slopes[i][1]))
            marks, wanted = options(laid[i].marks, initial), needs[i][: len(drive)]
            works.append(laid[i].derived.backward(drive, start, weights, marks, kept, cot, dlast, wanted))
        found = together(laid[0].derived.machine, works)
        return None, *(g for groups in found for group in groups for g in group)


def again(laid: Laid, tensors: Sequence[Tensor], cots: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients with a graph of their own."""
    derived, (lengths, resets), counts = laid
    drive, start, weights, initial = parts(tensors, counts)
    drive = derived.leaves(drive)  # as products: what stands in padding is cleared before them
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
