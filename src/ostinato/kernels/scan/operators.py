"""A derived scan as an operator of torch: one call in the graphs of torch.compile and torch.export.

    ostinato::scan             (kernel, keep, lengths, resets, drive, start, weights, initial) -> [out, last.., kept..]
    ostinato::scan_backward    ... and kept, cot, dlast -> gradients of [drive.., start.., weights.., initial..]

    ostinato::linear           (x, weight, bias) -> x weight^T + bias, by our own product
    ostinato::linear_backward  (cot, x, weight) -> gradients of [x, weight, bias]

Leaves are flat lists, in the order of their trees; a weight that nothing depends on has no gradient there. `kernel`
names what was derived in this process. It holds the recurrence's name and a digest of its traced step, its widths and
its dtype. So it is the same in every process, and a program runs in another one that has derived that cell too.

Eager code calls the kernels without the dispatcher, which costs more than a short scan.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..ir.buffers import OUT
from .autograd import Marks, ScanArgs, double_backward, options
from .autograd import parts as _groups
from .executors import EXECUTORS
from .gradients import backward
from .program import together
from .scan_kernel import ScanKernel

_KNOWN: dict[str, ScanKernel] = {}  # whose drive is given, by name
# By name, kind of products, and what is made inside of how many features.
_SAME: dict[tuple[str, str, tuple[tuple[int, int], ...]], ScanKernel] = {}


def known(derived: ScanKernel) -> ScanKernel:
    """What this process derived first of those that compute the same; from now on operators find it by its name."""
    name, exact = name_of(derived), derived.executor.kind == derived.executor.name
    if exact:
        _KNOWN.setdefault(name, derived.outside() if derived.inside else derived)
    return _SAME.setdefault((name, derived.executor.kind, tuple(derived.inside.items())), derived)


def name_of(derived: ScanKernel) -> str:
    """The name of a kernel, such as "gru-float32-" and 16 digits of its digest."""
    trace = derived.trace
    inputs = [node.meta["val"] for node in trace.graph.nodes if node.op == "placeholder"]
    shapes = [tuple(t.shape) for t in inputs]
    text = f"{shapes}\n{derived.drive_spec}\n{derived.state_spec}\n{trace.graph.python_code('self').src}"
    dtype = str(inputs[0].dtype).removeprefix("torch.")
    return f"{derived.recurrence.name}-{dtype}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def find(kernel: str) -> ScanKernel:
    """
    Raises:
        RuntimeError: this process has not derived that kernel.
    """
    if kernel not in _KNOWN:
        raise RuntimeError(
            f"the kernel {kernel!r} was not derived in this process; before a program that another one exported runs, "
            f"make the {kernel.split('-')[0]} cell it was exported from and call its `explain` once"
        )
    return _KNOWN[kernel]


def scan(
    derived: ScanKernel, marks: Marks, drive: list[Tensor], start: list[Tensor], weights: list[Tensor],
    initial: list[Tensor],
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """(out, the states after the last step) by one call that a tracer sees."""
    tensors = (*drive, *start, *weights, *initial)
    # An exported program most often infers; should it train, backward repeats the scan for what it wants kept.
    keep = not torch.compiler.is_exporting() and torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    found = _scan(name_of(derived), keep, *marks, drive, start, weights, initial)
    # Backward wants it as it is, and who is not compiled may write into it.
    out = found[0].clone() if keep and not torch.compiler.is_compiling() else found[0]
    return out, found[1 : 1 + len(start)]


@torch.library.custom_op("ostinato::scan", mutates_args=(), device_types="cpu")
def _scan(
    kernel: str, keep: bool, lengths: Tensor | None, resets: Tensor | None, drive: Sequence[Tensor],
    start: Sequence[Tensor], weights: Sequence[Tensor], initial: Sequence[Tensor],
) -> list[Tensor]:  # fmt: skip
    derived = find(kernel)
    drive, start, initial = ([t.contiguous() for t in group] for group in (drive, start, initial))
    work = derived.forward(drive, start, weights, options((lengths, resets), initial), keep=keep)
    out, last, kept = together(derived.executor, [work])[0]
    return [out, *last, *(k for k in kept if k is not out)]


@_scan.register_fake
def _(
    kernel: str, keep: bool, lengths: Tensor | None, resets: Tensor | None, drive: Sequence[Tensor],
    start: Sequence[Tensor], weights: Sequence[Tensor], initial: Sequence[Tensor],
) -> list[Tensor]:  # fmt: skip
    plan = find(kernel).plan
    names = [OUT, *(name for name in plan.forward_arrays if keep and name != OUT)]
    out, *kept = (drive[0].new_empty(*plan.size_of(name, *drive[0].shape[:2])) for name in names)
    return [out, *(s.new_empty(s.shape) for s in start), *kept]


@torch.library.custom_op("ostinato::scan_backward", mutates_args=(), device_types="cpu")
def _scan_backward(
    kernel: str, lengths: Tensor | None, resets: Tensor | None, drive: Sequence[Tensor], start: Sequence[Tensor],
    weights: Sequence[Tensor], initial: Sequence[Tensor], kept: Sequence[Tensor], cot: Tensor, dlast: Sequence[Tensor],
) -> list[Tensor]:  # fmt: skip
    drive, start, initial, kept, dlast = (
        [t.contiguous() for t in group] for group in (drive, start, initial, kept, dlast)
    )
    marks, derived = options((lengths, resets), initial), find(kernel)
    work = backward(derived, drive, start, weights, marks, kept, cot.contiguous(), dlast)
    groups = together(derived.executor, [work])[0]
    return _apart([g for group in groups for g in group if g is not None])


def _apart(results: list[Tensor]) -> list[Tensor]:
    """The same, each contiguous and in memory of its own: two weights that are added have one gradient."""
    found, taken = [], set[int]()
    for result in results:
        result = result.contiguous()
        if (memory := result.untyped_storage().data_ptr()) in taken:
            result = result.clone()
        taken.add(memory)
        found.append(result)
    return found


@_scan_backward.register_fake
def _(
    kernel: str, lengths: Tensor | None, resets: Tensor | None, drive: Sequence[Tensor], start: Sequence[Tensor],
    weights: Sequence[Tensor], initial: Sequence[Tensor], kept: Sequence[Tensor], cot: Tensor, dlast: Sequence[Tensor],
) -> list[Tensor]:  # fmt: skip
    learnt = [w for w, moves in zip(weights, _moves(find(kernel)), strict=True) if moves]
    return [t.new_empty(t.shape) for t in (*drive, *start, *learnt, *initial)]


def _moves(derived: ScanKernel) -> list[bool]:
    """Of each weight: whether the results depend on it."""
    return [gradient is not None for gradient in derived.trace.dweights]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    kernel, keep, lengths, resets, *groups = inputs
    ctx.kernel, ctx.keep, ctx.counts = kernel, keep, [len(group) for group in groups]
    out, *kept = output[0], *output[1 + len(groups[1]) :]
    arrays = iter(kept)
    kept = [out if name == OUT else next(arrays) for name in find(kernel).plan.forward_arrays if keep]
    ctx.save_for_backward(lengths, resets, *(t for group in groups for t in group), *kept)
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, cots: list[Tensor | None]) -> tuple[Any, ...]:
    lengths, resets, *tensors = ctx.saved_tensors
    derived, size = find(ctx.kernel), sum(ctx.counts)
    tensors, kept = tensors[:size], tensors[size:]
    drive, start, _, initial = groups = _groups(tensors, ctx.counts)
    if not ctx.keep:
        out, *rest = _scan(ctx.kernel, True, lengths, resets, *groups)
        arrays = iter(rest[len(start) :])
        kept = [out if name == OUT else next(arrays) for name in derived.plan.forward_arrays]
    width = derived.plan.sequences[OUT]
    cot = drive[0].new_zeros(*drive[0].shape[:2], width) if cots[0] is None else cots[0]
    slopes = zip(start, cots[1 : 1 + len(start)], strict=True)
    dlast = [torch.zeros_like(s) if d is None else d for s, d in slopes]
    if torch.is_grad_enabled():  # create_graph: by the reference loop, whose gradient has a derivative
        found = double_backward(ScanArgs(derived, (lengths, resets), ctx.counts), tensors, [cot, *dlast])
    else:
        given = iter(_scan_backward(ctx.kernel, lengths, resets, *groups, kept, cot, dlast))
        learnt = [True] * (len(drive) + len(start)) + _moves(derived) + [True] * len(initial)
        found = [next(given) if moves else None for moves in learnt]
    return None, None, None, None, *_groups(found, ctx.counts)


_scan.register_autograd(_gradients, setup_context=_remember)


@torch.library.custom_op("ostinato::linear", mutates_args=(), device_types="cpu")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return EXECUTORS[x.device.type](x.dtype).linear(x.contiguous(), weight.t(), bias)


@linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@torch.library.custom_op("ostinato::linear_backward", mutates_args=(), device_types="cpu")
def _linear_backward(cot: Tensor, x: Tensor, weight: Tensor) -> list[Tensor]:
    cot, here = cot.contiguous(), EXECUTORS[x.device.type](x.dtype)
    return [here.linear(cot, weight, None), *here.outer_and_total(cot, x.contiguous())]


@_linear_backward.register_fake
def _(cot: Tensor, x: Tensor, weight: Tensor) -> list[Tensor]:
    return [x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[:1])]


def _remember_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _linear_gradients(ctx: Any, cot: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad
    if torch.is_grad_enabled():  # create_graph: by operations that have a derivative themselves
        rows = cot.flatten(0, -2)
        return cot @ weight, rows.t() @ x.flatten(0, -2), rows.sum(0) if needs[2] else None
    dx, dw, db = _linear_backward(cot, x, weight)
    return dx, dw, db if needs[2] else None


linear.register_autograd(_linear_gradients, setup_context=_remember_linear)
