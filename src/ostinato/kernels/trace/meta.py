"""The results of the commonest ATen operations on tensors without numbers: shapes and dtypes.

Torch has its own rules, in Python, which import its compiler; views are C++'s and need none of these.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..._torch import schema
from ..ir.ops import POINTWISE

_RULES: dict[str, Callable[..., Tensor | None]] = {}
_TRUTHS = frozenset(("gt", "ge", "lt", "le", "eq", "ne", "logical_not", "logical_and", "bitwise_not", "bitwise_and"))


def shaped(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    """What an operation gives, empty; None where no rule here says it."""
    name = func.overloadpacket.__name__
    in_place = schema(func).is_mutable
    rule = _RULES.get(name.removesuffix("_") if in_place else name)
    found = None if rule is None else rule(*args, **kwargs)
    if in_place and found is not None:
        return args[0] if found.shape == args[0].shape and found.dtype == args[0].dtype else None
    return found


def _rule(*names: str) -> Callable[[Callable[..., Tensor | None]], Callable[..., Tensor | None]]:
    def add(rule: Callable[..., Tensor | None]) -> Callable[..., Tensor | None]:
        _RULES.update(dict.fromkeys(names, rule))
        return rule

    return add


def _each(truth: bool) -> Callable[..., Tensor | None]:
    """Element by element: one floating dtype, beside truths and whole numbers, or truths alone."""

    def rule(*operands: Any, alpha: Any = 1) -> Tensor | None:
        tensors = [x for x in operands if isinstance(x, Tensor)]
        kinds = {t.dtype for t in tensors} - {torch.bool, torch.int64} or {t.dtype for t in tensors}
        kind = kinds.pop()
        if kinds or not (kind.is_floating_point or (truth and kind == torch.bool)):
            return None
        shape = _broadcast([t.shape for t in tensors])
        whole = next((t for t in tensors if t.shape == shape), None)
        dtype = torch.bool if truth else kind
        if whole is None or not _dense(whole):
            return tensors[0].new_empty(shape, dtype=dtype)
        return torch.empty_strided(shape, whole.stride(), dtype=dtype, device=whole.device)

    return rule


def _dense(x: Tensor) -> bool:
    """Whether its numbers lie side by side, in whatever order of the axes."""
    room = 1
    for stride, size in sorted((stride, size) for stride, size in zip(x.stride(), x.shape, strict=True) if size != 1):
        if stride != room:
            return False
        room *= size
    return True


for _op in {
    *POINTWISE,
    "add",
    "sub",
    "mul",
    "div",
    "rsub",
    "rsqrt",
    "reciprocal",
    "pow",
    "clamp",
    "clamp_min",
    "clamp_max",
    "log1p",
    "copy",
}:
    _RULES[_op] = _each(_op in _TRUTHS)
for _op in _TRUTHS:
    _RULES[_op] = _each(True)


def _broadcast(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    most = max(map(len, shapes))
    columns = zip(*((1,) * (most - len(shape)) + tuple(shape) for shape in shapes), strict=True)
    found = tuple(next((size for size in column if size != 1), 1) for column in map(list, columns))
    for shape in shapes:
        if any(a not in (1, b) for a, b in zip(reversed(shape), reversed(found), strict=False)):
            raise ValueError(f"the shapes {[list(s) for s in shapes]} do not go together")
    return found


@_rule("slice_scatter")
def _scattered(x: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape)


@_rule("constant_pad_nd")
def _padded(x: Tensor, widths: Sequence[int], number: Any = 0) -> Tensor:
    ends = [sum(widths[i : i + 2]) for i in range(0, len(widths), 2)]
    ends += [0] * (x.dim() - len(ends))
    return x.new_empty([size + end for size, end in zip(x.shape, reversed(ends), strict=True)])


@_rule("mm")
def _mm(a: Tensor, b: Tensor) -> Tensor | None:
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[0] or a.dtype != b.dtype:
        return None
    return a.new_empty(a.shape[0], b.shape[1])


@_rule("cat")
def _cat(tensors: Sequence[Tensor], axis: int = 0) -> Tensor | None:
    first = tensors[0]
    axis %= max(1, first.dim())
    rest = {(*t.shape[:axis], *t.shape[axis + 1 :]) for t in tensors}
    if len(rest) != 1 or len({(t.dtype, t.dim()) for t in tensors}) != 1:
        return None
    return first.new_empty(*first.shape[:axis], sum(t.shape[axis] for t in tensors), *first.shape[axis + 1 :])


def _left(x: Tensor, axes: Sequence[int] | None, keep: bool, dtype: torch.dtype) -> Tensor:
    gone = {axis % x.dim() for axis in axes} if axes else set(range(x.dim()))
    sizes = [(1 if i in gone else size) for i, size in enumerate(x.shape) if keep or i not in gone]
    return x.new_empty(sizes, dtype=dtype)


@_rule("sum", "amax", "mean")
def _reduced(x: Tensor, axes: Any = None, keep: bool = False, dtype: Any = None, **options: Any) -> Tensor | None:
    counted = x.dtype == torch.bool and dtype is None
    if not (x.is_floating_point() or counted) or dtype not in (None, x.dtype):
        return None
    return _left(x, axes, keep, torch.int64 if counted else x.dtype)


@_rule("var")
def _variance(x: Tensor, axes: Any = None, correction: Any = None, keepdim: bool = False) -> Tensor | None:
    return _left(x, axes, keepdim, x.dtype) if x.is_floating_point() else None


@_rule("embedding")
def _embedding(table: Tensor, ids: Tensor, *rest: Any) -> Tensor:
    return table.new_empty(*ids.shape, *table.shape[1:])


@_rule("_unsafe_view")
def _view(x: Tensor, shape: Sequence[int]) -> Tensor | None:
    return x.new_empty(shape) if math.prod(shape) == x.numel() and min(shape, default=1) >= 0 else None


@_rule("broadcast_in_dim")
def _broadcast_in_dim(x: Tensor, shape: Sequence[int], axes: Sequence[int]) -> Tensor:
    return x.new_empty(shape)


@_rule("convert_element_type")
def _converted(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.new_empty(x.shape, dtype=dtype)


@_rule("full")
def _full(size: Sequence[int], number: Any, dtype: Any = None, **options: Any) -> Tensor | None:
    return None if dtype is None else torch.empty(size, dtype=dtype, device="meta")


@_rule("scalar_tensor")
def _scalar(number: Any, dtype: Any = None, **options: Any) -> Tensor | None:
    return None if dtype is None else torch.empty((), dtype=dtype, device="meta")


@_rule("full_like")
def _full_like(x: Tensor, number: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    return x.new_empty(x.shape, dtype=dtype)
