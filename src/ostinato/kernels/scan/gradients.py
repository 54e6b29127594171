"""The gradients of a scan: its backward direction, and the products over all steps that follow it."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..ir.buffers import OUT_GRADIENT, SUMS, Buffer, Kind
from ..lower.weight_graph import WeightValues
from ..passes.plan import Factor
from .program import Along, Arrays, Launch, Options, Outer, Work
from .scan_kernel import ScanKernel


def backward(
    kernel: ScanKernel, drive: Sequence[Tensor | None], start: Sequence[Tensor], weights: Sequence[Tensor],
    options: Options, kept: Sequence[Tensor], cot: Tensor, dlast: Sequence[Tensor], needs: Sequence[bool] | None = None,
) -> Work[tuple[list[Tensor | None], list[Tensor], list[Tensor | None], list[Tensor]]]:  # fmt: skip
    """Gradients of (drive, start, weights, initial states); needs: of what is given for the drive, all if None."""
    rows, steps = cot.shape[:2]
    direction = kernel.directions["backward"]
    value = WeightValues(zip(kernel.trace.weights, weights, strict=True))
    leaves, wanted = kernel.leaves(drive), kernel.leaves([True] * len(drive) if needs is None else needs)
    made = [(i, *pair) for i, pair in enumerate(zip(leaves, wanted, strict=True)) if i in kernel.inside]
    inputs_too = [(i, leaf) for i, leaf, needs in made if needs.x]
    turned = {Buffer(Kind.INPUT_TURNED, i): leaf.weight for i, leaf in inputs_too}
    arrays = kernel.packed(direction, value, turned)
    arrays |= dict(zip(kernel.plan.forward_arrays, kept, strict=True))
    arrays |= kernel.state_arrays(start, options, Kind.START_GRADIENT)
    arrays |= {Buffer(Kind.LAST_GRADIENT, i): d for i, d in enumerate(dlast)}
    arrays |= {Buffer(Kind.INITIAL_GRADIENT, i): torch.zeros_like(s) for i, s in enumerate(start)}
    arrays |= {Buffer(Kind.DRIVE, i): d for i, d in enumerate(leaves) if i not in kernel.inside}
    arrays |= {OUT_GRADIENT: cot, SUMS: cot.new_zeros(rows, max(1, kernel.plan.sums))}
    kernel.sequence_arrays(direction, arrays, options.lengths, rows, steps)
    yield Launch(direction, rows, steps, arrays, options)
    of_matrices = _of_matrices(kernel, arrays, start, options)
    gradients = {i: arrays[Buffer(Kind.DRIVE_GRADIENT, i)] for i in kernel.inside}
    outers = [Outer(gradients[i], leaf.x) for i, leaf, needs in made if needs.weight or needs.bias]
    matrices = [arrays[buffer] for buffer in turned]
    alongs = [Along(gradients[i], m, leaf.x.shape[2]) for (i, leaf), m in zip(inputs_too, matrices, strict=True)]
    products, slopes = kernel.executor.products([*of_matrices.get(1, ()), *outers], alongs, options.lengths)
    inner = len(of_matrices.get(1, ()))
    each = {1: iter(products[:inner])}
    for count, some in of_matrices.items():
        if count > 1:
            lengths = None if options.lengths is None else options.lengths * count
            each[count] = iter(kernel.executor.products(some, [], lengths)[0])
    for node, left, right, count in kernel.plan.products:
        product, _ = next(each[count])
        value.known[node] = product.T if left.before and not right.before else product
    for total, at, width in kernel.plan.totals:
        value.known[total.node] = total.shaped(arrays[SUMS][:, at : at + width].sum(0))
    ddrive = _of_drive(kernel, leaves, wanted, arrays, iter(products[inner:]), iter(slopes))
    dstart = [arrays[Buffer(Kind.START_GRADIENT, i)] for i in range(len(start))]
    dinitial = [arrays[Buffer(Kind.INITIAL_GRADIENT, i)] for i in range(len(options.initial))]
    return ddrive, dstart, [value(x) for x in kernel.trace.dweights], dinitial


def _of_matrices(
    kernel: ScanKernel, arrays: Arrays, start: Sequence[Tensor], options: Options
) -> dict[int, list[Outer]]:
    """The products that make the gradients of matrices, by how many rows each row of the batch has there."""
    found: dict[int, list[Outer]] = {}
    for _, left, right, count in kernel.plan.products:
        outer = _outer(kernel, left, right, arrays, start, options, late=count == 1)
        if count > 1:
            a, b = (t.contiguous().view(len(t), t.shape[1] * count, -1) for t in outer[:2])
            outer = Outer(a, b)
        found.setdefault(count, []).append(outer)
    return found


def _of_drive(
    kernel: ScanKernel, leaves: Sequence[Any], wanted: Sequence[Any], arrays: Arrays,
    products: Iterator[tuple[Tensor, Tensor]], slopes: Iterator[Tensor],
) -> list[Tensor | None]:  # fmt: skip
    """The gradients of what was given for the drive."""
    found: list[Tensor | None] = []
    for i, needs in enumerate(wanted):
        if i not in kernel.inside:
            found.append(arrays[Buffer(Kind.DRIVE_GRADIENT, i)] if needs else None)
            continue
        dw, db = next(products) if needs.weight or needs.bias else (None, None)
        found += (next(slopes) if needs.x else None, dw, db if needs.bias else None)
    return found


def _outer(
    kernel: ScanKernel,
    left: Factor,
    right: Factor,
    arrays: Arrays,
    start: Sequence[Tensor],
    options: Options,
    late: bool = True,
) -> Outer:
    """What makes the gradient of a matrix; turned, where only its left factor is one step late.

    Args:
        late: whether the product may read its second factor one step late by itkernel.
    """
    if left.before and not right.before:
        return _outer(kernel, right, left, arrays, start, options, late)
    a = _factor(kernel, left, arrays, start, options)
    if not (late and right.before) or left.before or options.resets is not None:
        return Outer(a, _factor(kernel, right, arrays, start, options))
    number = right.array.number
    return Outer(a, arrays[kernel.plan.history[number]], start[number])


def _factor(kernel: ScanKernel, factor: Factor, arrays: Arrays, start: Sequence[Tensor], options: Options) -> Tensor:
    """One side of a matrix's gradient, [B, T, width]."""
    if not factor.before:
        return arrays[factor.array][..., factor.at : factor.at + factor.width]
    number = factor.array.number
    after = arrays[kernel.plan.history[number]]
    before = torch.cat([start[number][:, None], after[:, :-1]], dim=1)
    if options.resets is not None:
        initial = (options.initial or start)[number]
        before = torch.where(options.resets[..., None] != 0, initial[:, None], before)
    return before
