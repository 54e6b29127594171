"""A derived scan as a recurrence calls it: kernels by widths and dtype."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ... import tree
from ..._torch import dispatches, in_dispatch_mode, pytree
from ..table import Affine, Call, Unsupported, inputs, is_affine, leaves
from ..trace.step_identity import identity
from ..trace.tracer import written_at
from . import operators
from .autograd import Product, Scan, ScanArgs, forward, in_turns
from .executors import EXECUTORS
from .leaves import as_rows
from .ordering import by_length, in_given_order
from .scan_kernel import ScanKernel, step_of

_MOST = 1024  # recurrences that are remembered: a model may make one for each of its parts, and each time anew
_DERIVED: dict[Any, ScanKernel | str] = {}  # a kernel, or why there is none
_LOCK = threading.Lock()  # of who derives
_HERE = threading.local()  # `derives`: whether this thread is one that the lock's holder waits for


def why_not(recurrence: Any, drive: Any, state: Any, weights: Sequence[Tensor]) -> str | None:
    """Why no kernel can be derived, in words; None where one can."""
    found = derived(recurrence, drive, state, weights)
    return found if isinstance(found, str) else None


def run(calls: Sequence[Call]) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
    """(out [B, T, ...], the leaves of the state after each row's last step) of each call; none waits for another."""
    kernels: list[Any] = [derived(call.recurrence, call.drive, call.state, call.weights) for call in calls]
    if torch.is_autocast_enabled("cpu"):  # operands of products are rounded in the kernel, and nothing else
        calls = [pytree.tree_map(_single, call) for call in calls]
    watched = [_watched(call.drive, call.weights) for call in calls]
    ordered, orders = zip(*map(by_length, calls, watched), strict=True)
    found = _scans(kernels, ordered, any(watched))
    results = []
    for kernel, (out, last), order in zip(kernels, found, orders, strict=True):
        leaves_after = tuple(in_given_order(t, order) for t in kernel.leaves_of_state(last))
        results.append((in_given_order(kernel.out_of(out), order), leaves_after))
    return results


def _single(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.is_floating_point() else x


def _scans(kernels: Sequence[Any], calls: Sequence[Call], watched: bool) -> list[tuple[Tensor, list[Tensor]]]:
    """Scans of rows in the order of their lengths: as operators where somebody watches."""
    scan_args, groups = list[ScanArgs](), list[list[Any]]()
    for kernel, call in zip(kernels, calls, strict=True):
        start, fresh = [as_rows(s, 1) for s in tree.leaves(call.state)], list[Tensor]()
        if call.resets is not None and call.initial is None:
            fresh = [torch.zeros_like(s) for s in start]
        elif call.resets is not None:
            fresh = [as_rows(s, 1) for s in tree.leaves(call.initial)]
        dtype = inputs(call.drive)[0].dtype
        marks = tuple(None if t is None else t.to(dtype) for t in (call.lengths, call.resets))
        driven = _drive(kernel, call.drive, marks[0], watched)
        mine = [driven, start, list(call.weights), fresh]
        scan_args.append(ScanArgs(kernel, marks, tuple(map(len, mine))))
        groups += mine if watched else [_contiguous(driven), _contiguous(start), mine[2], _contiguous(fresh)]
    if watched:
        each = (groups[4 * i : 4 * i + 4] for i in range(len(scan_args)))
        return [operators.scan(one.kernel, one.marks, *mine) for one, mine in zip(scan_args, each, strict=True)]
    tensors = [t for group in groups for t in group]
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        return in_turns(scan_args, Scan.apply(scan_args, *tensors))
    found = forward(scan_args, [t if t is None else t.detach() for t in tensors], keep=False)
    return [(out, last) for out, last, _ in found]


def _contiguous(tensors: Sequence[Any]) -> list[Any]:
    return [t if t is None else t.contiguous() for t in tensors]


def _watched(drive: Any, weights: Sequence[Tensor]) -> bool:
    """Whether a tracer follows operations, or the tensors are such as have no memory to give to a kernel."""
    tensors = (*inputs(drive), *weights)
    return in_dispatch_mode() or any(map(dispatches, tensors))


def derived(recurrence: Any, drive: Any, state: Any, weights: Sequence[Tensor]) -> ScanKernel | str:
    """The kernel of a recurrence for these widths and this dtype, or why there is none, in words."""
    # What a compiler sees is the plain kernel, with the products of the drive before it.
    watched, mixed = _watched(drive, weights), torch.is_autocast_enabled("cpu")
    driven = inputs(drive)[0]
    dtype = torch.float32 if mixed else driven.dtype
    kind = (driven.device.type, dtype, "bfloat16" if mixed and not watched else None, watched)
    try:
        read = _read(recurrence)
    except Unsupported as error:
        return str(error)
    key = (read, kind, _widths(drive, 2), _widths(state, 1), _widths(tuple(weights), 0))
    if (found := _DERIVED.get(key)) is not None:
        return found
    if getattr(_HERE, "derives", False):
        return "it is part of a step that is being derived"
    with _LOCK:
        if (found := _DERIVED.get(key)) is not None:
            return found
        products = {} if watched else {i: d for i, d in enumerate(leaves(drive)) if isinstance(d, Affine)}
        features = {i: int(product.weight.shape[1]) for i, product in products.items()}
        described = (_rows(drive, 2), _rows(state, 1), _rows(list(weights), 0), (*kind[:3], features))
        # In a thread of its own: whatever traces or transforms this call would follow the derivation too.
        with ThreadPoolExecutor(1) as alone:
            found = alone.submit(_derive, recurrence, *described).result()
        if isinstance(found, ScanKernel) and read != _read(recurrence):
            found = "its step changes what it reads (a counter, a list); what changes from step to step is its state"
        while len(_DERIVED) >= _MOST:
            del _DERIVED[next(iter(_DERIVED))]
        _DERIVED[key] = found
    return found


def _read(recurrence: Any) -> Any:
    """What a step reads besides its arguments, to compare.

    Raises:
        Unsupported: it reads what cannot be compared.
    """
    return identity(recurrence.gates), identity(recurrence.update), torch.get_default_dtype()


def _widths(tree: Any, axes: int) -> Any:
    """The structure of a tree and the shapes of its leaves from an axis on, to compare: every call asks for them."""
    if isinstance(tree, Tensor):
        return _sizes(tree.shape[axes:])
    if isinstance(tree, Affine):
        return Affine, _sizes(tree.weight.shape)
    if isinstance(tree, tuple):
        return type(tree), *[_widths(part, axes) for part in tree]
    shapes, spec = _rows(tree, axes)
    return spec, *shapes


def _rows(tree: Any, axes: int) -> tuple[list[tuple[int, ...]], pytree.TreeSpec]:
    """The shapes of the leaves from an axis on, and what they are leaves of."""
    found, spec = pytree.tree_flatten(tree, is_leaf=is_affine)
    return [_sizes(t.weight.shape[:1] if isinstance(t, Affine) else t.shape[axes:]) for t in found], spec


def _sizes(shape: Sequence[Any]) -> tuple[int, ...]:
    """Widths as numbers, also where a tracer has symbols for sizes."""
    return tuple(map(int, shape))


def _derive(recurrence: Any, *described: Any) -> ScanKernel | str:
    """From the shapes of drive, state and weights: a call that is traced has no values."""
    _HERE.derives = True
    *trees, (device, dtype, products, features) = described
    drive, state, weights = (
        pytree.tree_unflatten([torch.empty(shape, dtype=dtype) for shape in shapes], spec) for shapes, spec in trees
    )
    try:
        with torch.autograd.set_detect_anomaly(False):  # it would look for NaN in what has no values
            made = ScanKernel(recurrence, drive, state, weights, EXECUTORS[device](dtype, products), features=features)
        return operators.known(made)
    except Unsupported as error:
        functions = [getattr(f, "func", f) for f in (recurrence.gates, recurrence.update) if f is not None]
        rows = pytree.tree_map(lambda t: t[None], (drive, state))
        line = _line(error.op, step_of(recurrence), functions, (*rows, *weights)) if error.op else ""
        return f"{error}" + (f" ({line})" if line else "")


def _line(op: str, step: Any, functions: Sequence[Any], example: Any) -> str:
    try:
        return written_at(op, step, functions, example)
    except Exception:  # the user's step, which may not take one row
        return ""


def _drive(kernel: ScanKernel, drive: Any, lengths: Tensor | None, watched: bool) -> list[Any]:
    """The drive's leaves, [B, T, features] each, or what the kernel makes them of: see `ScanKernel.leaves`."""
    found: list[Any] = []
    for i, leaf in enumerate(leaves(drive)):
        if not isinstance(leaf, Affine):
            found.append(as_rows(leaf, 2))
            continue
        leaf.check()
        if i in kernel.inside:
            found += (leaf.x, leaf.weight.contiguous(), leaf.bias)
        elif watched:
            found.append(operators.linear(*leaf))
        else:
            found.append(Product.apply(kernel.executor, lengths, leaf.x.contiguous(), leaf.weight, leaf.bias))
    return found


def _after_fork() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # a thread that the child does not have may hold the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
