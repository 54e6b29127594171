"""A derived scan, and the product before it, as functions that torch's autograd knows."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from ... import tree
from ..._torch import writes
from .gradients import backward
from .program import Along, Options, Outer, together
from .scan_kernel import ScanKernel

T = TypeVar("T")
Marks = Sequence[Tensor | None]  # lengths [B] and resets [B, T], in the dtype of the kernel


class Product(torch.autograd.Function):
    """x [B, T, K] times weight [N, K], plus bias [N]: torch's linear layer, beside whose threads no others spin.

    Past the lengths [B], in the dtype of x, nothing is computed, and zeros stand there.
    """

    @staticmethod
    def forward(
        ctx: Any, executor: Any, lengths: Tensor | None, x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.executor, ctx.lengths = executor, lengths
        ctx.save_for_backward(x, weight)
        return executor.linear(x, weight.t(), bias, lengths)

    @staticmethod
    def backward(ctx: Any, *cots: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        dy, needs = cots[0].contiguous(), ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # create_graph: by operations that have a derivative themselves
            dy, x = (tree.masked(t, ctx.lengths) for t in (dy, x))
            rows, steps = dy.flatten(0, -2), x.flatten(0, -2)
            return None, None, dy @ weight, rows.t() @ steps, rows.sum(0) if needs[2] else None
        outers = [Outer(dy, x)] if any(needs[1:]) else []
        alongs = [Along(dy, packed, x.shape[-1]) for packed in ctx.executor.packs([weight] if needs[0] else [])]
        products, slopes = ctx.executor.products(outers, alongs, ctx.lengths)
        dw, db = products[0] if products else (None, None)
        return None, None, slopes[0] if slopes else None, dw, db if needs[2] else None


class ScanArgs(NamedTuple):
    """A scan beside its tensors: those of drive, start, weights and initial states are given one after the other.

    For a leaf of the drive that the kernel makes itself, x, weight and bias or None are given: see `ScanKernel.leaves`.
    """

    kernel: ScanKernel
    marks: Marks
    counts: Sequence[int]  # of the tensors of each group


def in_turns(scan_args: Sequence[ScanArgs], results: Sequence[Tensor]) -> list[tuple[Tensor, list[Tensor]]]:
    """Results of `Scan`, (out, states) of each scan."""
    sizes = [1 + one.counts[1] for one in scan_args]
    return [(out, last) for out, *last in parts(results, sizes)]


def forward(
    scan_args: Sequence[ScanArgs], tensors: Sequence[Any], keep: bool = True
) -> list[tuple[Tensor, list[Tensor], list[Tensor]]]:
    """(out, the states after the last step, what backward wants) of each scan, all done at once."""
    works = []
    for one, given in zip(scan_args, parts(tensors, [sum(one.counts) for one in scan_args]), strict=True):
        drive, start, weights, initial = parts(given, one.counts)
        works.append(one.kernel.forward(drive, start, weights, options(one.marks, initial), keep))
    return together(scan_args[0].kernel.executor, works)


class Watch:
    """Whether somebody has written into a tensor since, or into a view of it; holds none of its memory."""

    def __init__(self, t: Tensor) -> None:
        self.count = t.detach()  # of what was written it has the same count
        self.count.data = t.new_empty(0)
        self.before = writes(self.count)

    def written(self) -> bool:
        return writes(self.count) != self.before


class Scan(torch.autograd.Function):
    """([ScanArgs], tensors of all) -> (out, states) of each, one after the other. All are of one executor.

    An output may be written in place, as that of the loop, which is a copy: where backward wants it, the scan runs
    again. To keep a copy would cost everybody its memory.
    """

    @staticmethod
    def forward(ctx: Any, scan_args: Sequence[ScanArgs], *tensors: Any) -> Any:
        found = forward(scan_args, tensors)
        ctx.scan_args, ctx.kept = scan_args, [len(kept) for *_, kept in found]
        # Outputs are no views, which nobody may write to, and what is kept has a count of its own.
        found = [(out.data, last, [k.data for k in kept], any(k is out for k in kept)) for out, last, kept in found]
        ctx.watches = [Watch(out) if wanted else None for out, _, _, wanted in found]
        ctx.save_for_backward(*tensors, *(k for _, _, kept, _ in found for k in kept))
        return tuple(t for out, last, *_ in found for t in (out, *last))

    @staticmethod
    def backward(ctx: Any, *cots: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        scan_args, saved = ctx.scan_args, ctx.saved_tensors  # asked for once: checkpointing gives them once
        sizes = [sum(one.counts) for one in scan_args]
        *given, rest = parts(saved, [*sizes, sum(ctx.kept)])
        slopes = in_turns(scan_args, cots)
        if torch.is_grad_enabled():  # create_graph: by the reference loop, whose gradient has a derivative
            twice = zip(scan_args, given, slopes, strict=True)
            found = [double_backward(one, tensors, (cot, *dlast)) for one, tensors, (cot, dlast) in twice]
            return None, *(g for group in found for g in group)
        needs, works, keeps = parts(ctx.needs_input_grad[1:], sizes), [], parts(rest, ctx.kept)
        for i, watch in enumerate(ctx.watches):
            if watch is not None and watch.written():
                keeps[i] = forward([scan_args[i]], given[i])[0][2]
        for i, kept in enumerate(keeps):
            drive, start, weights, initial = parts(given[i], scan_args[i].counts)
            cot, *dlast = (c.contiguous() for c in (slopes[i][0], *slopes[i][1]))
            marks, wanted = options(scan_args[i].marks, initial), needs[i][: len(drive)]
            works.append(backward(scan_args[i].kernel, drive, start, weights, marks, kept, cot, dlast, wanted))
        found = together(scan_args[0].kernel.executor, works)
        return None, *(g for groups in found for group in groups for g in group)


def double_backward(args: ScanArgs, tensors: Sequence[Tensor], cots: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients with a graph of their own."""
    kernel, (lengths, resets), counts = args
    drive, start, weights, initial = parts(tensors, counts)
    drive = kernel.leaves(drive)  # as products: what stands in padding is cleared before them
    results = kernel.walk(
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
