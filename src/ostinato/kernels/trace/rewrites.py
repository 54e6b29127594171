"""Operations that rows have no word for, said in others: what both tracers record instead of them.

Each is written as one would write it in PyTorch. Where it gives NotImplemented the operation stays as it is.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..ir.graph import MOST
from .elementary import ELEMENTARY, scaled
from .functions import running

SYNONYMS: dict[Any, Callable[..., Any]] = {**ELEMENTARY}
_ATEN = torch.ops.aten


def _says(*operations: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(said: Callable[..., Any]) -> Callable[..., Any]:
        SYNONYMS.update(dict.fromkeys(operations, said))
        return said

    return add


@_says(_ATEN.elu.default)
def _elu(x: Tensor, alpha: float = 1, scale: float = 1, inner: float = 1) -> Tensor:
    return torch.where(x > 0, x * scale, torch.expm1(x * inner) * (alpha * scale))


@_says(_ATEN.hardtanh.default)
def _hardtanh(x: Tensor, low: float = -1, high: float = 1) -> Tensor:
    return torch.clamp(x, low, high)


@_says(torch.ops.prims.var.default)
def _var(x: Tensor, axes: list[int], correction: float = 1.0) -> Tensor:
    count = math.prod(x.shape[axis] for axis in axes)
    off = x - torch.sum(x, axes, True) / count
    return torch.sum(off * off, axes) / (count - correction)


@_says(_ATEN.std.correction)
def _std(x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> Tensor:
    axes = [*range(x.dim())] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    count = math.prod(x.shape[axis] for axis in axes)
    off = x - torch.sum(x, axes, True) / count
    before, after = scaled(torch.amax(torch.abs(off), axes, True))
    off = off * before
    after = after if keepdim else torch.amax(after, axes)
    return (
        torch.sqrt(torch.sum(off * off, axes, keepdim) / (count - (1.0 if correction is None else correction))) * after
    )


@_says(_ATEN.native_group_norm.default)
def _group_norm(
    x: Tensor, weight: Any, bias: Any, rows: int, channels: int, places: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    parts = x.view(rows, groups, channels // groups * places)
    var, mean = torch.var_mean(parts, -1, correction=0, keepdim=True)
    rstd = torch.rsqrt(var + eps)
    out = ((parts - mean) * rstd).view(x.shape)
    shape = (1, channels, *[1] * (x.dim() - 2))
    out = out if weight is None else out * weight.view(shape)
    return out if bias is None else out + bias.view(shape), mean.squeeze(-1), rstd.squeeze(-1)


@_says(_ATEN.hardsigmoid_backward.default)
def _hardsigmoid_backward(grad: Tensor, x: Tensor) -> Tensor:
    # A sixth as PyTorch's own kernel has it: in float32 for all dtypes.
    return torch.where((x > -3) & (x < 3), grad * 0.1666666716337204, 0.0)


@_says(_ATEN.cumsum.default)
def _cumsum(x: Tensor, dim: int, *, dtype: Any = None) -> Any:
    return NotImplemented if dtype not in (None, x.dtype) else running(x, dim, torch.add, torch.sum)


@_says(_ATEN.softshrink.default)
def _softshrink(x: Tensor, width: float = 0.5) -> Tensor:
    # In the middle a zero of the sign of x, and NaN where x is.
    return torch.where(x > width, x - width, torch.where(x < -width, x + width, x * 0.0))


@_says(_ATEN.softshrink_backward.default, _ATEN.hardshrink_backward.default)
def _shrink_backward(grad: Tensor, x: Tensor, width: float) -> Tensor:
    return torch.where((x >= -width) & (x <= width), 0.0, grad)


@_says(_ATEN.linalg_vector_norm.default)
def _norm(x: Tensor, order: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if dtype not in (None, x.dtype):
        return NotImplemented
    axes = list(range(x.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    if order == 2:
        return torch.sqrt(torch.sum(x * x, axes, keepdim))
    if math.isinf(order):
        return (torch.amax if order > 0 else torch.amin)(torch.abs(x), axes, keepdim)
    if order == 0:
        return torch.sum((x != 0).to(x.dtype), axes, keepdim)
    total = torch.sum(torch.pow(torch.abs(x), order), axes, keepdim)
    return total if order == 1 else torch.pow(total, 1 / order)


@_says(_ATEN.amin.default)
def _amin(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    return -torch.amax(-x, dim, keepdim)


def _place(x: Tensor, most: Tensor, dim: int, keepdim: bool) -> Tensor:
    """The first place where x is `most`, which kept its axis."""
    size = x.shape[dim]
    places = torch.arange(size, device=x.device).view(-1, *[1] * (-dim % x.dim() - 1 if dim < 0 else x.dim() - dim - 1))
    return size - torch.amax(torch.where((x == most) | (x != x), size - places, 0), dim, keepdim)


@_says(_ATEN.max.dim)
def _max(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    most = torch.amax(x, dim, True)
    return most if keepdim else most.squeeze(dim), _place(x, most, dim, keepdim)


@_says(_ATEN.min.dim)
def _min(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    least, place = _max(-x, dim, keepdim)
    return -least, place


@_says(_ATEN.argmax.default)
def _argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    return NotImplemented if dim is None else _place(x, torch.amax(x, dim, True), dim, keepdim)


@_says(_ATEN.scatter.src, _ATEN.scatter.value)
def _scatter(x: Tensor, dim: int, index: Tensor, source: Any) -> Any:
    """One place of each row: what selects a largest number hands back its gradient so."""
    if x.dim() < 2 or index.shape[dim] != 1:
        return NotImplemented
    after = x.dim() - dim % x.dim() - 1
    places = torch.arange(x.shape[dim], device=x.device).view(-1, *[1] * after)
    return torch.where(index == places, source, x)


@_says(_ATEN.roll.default)
def _roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    if not dims:
        return NotImplemented
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[dim]
        if cut := (size - shift) % size:
            x = torch.cat([x.narrow(dim, cut, size - cut), x.narrow(dim, 0, cut)], dim)
    return x.clone()


@_says(_ATEN.flip.default)
def _flip(x: Tensor, dims: Sequence[int]) -> Any:
    if any(x.shape[dim] > MOST for dim in dims):
        return NotImplemented
    for dim in dims:
        x = torch.cat(x.split(1, dim)[::-1], dim)
    return x


@_says(_ATEN.repeat.default)
def _repeat(x: Tensor, times: Sequence[int]) -> Tensor:
    x = x.view(*[1] * (len(times) - x.dim()), *x.shape)
    for dim, count in enumerate(times):
        x = torch.cat([x] * count, dim) if count > 1 else x
    return x.clone()


@_says(_ATEN.stack.default)
def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    return torch.cat([t.unsqueeze(dim) for t in tensors], dim)


@_says(_ATEN.bmm.default)
def _bmm(a: Tensor, b: Tensor) -> Any:
    """A product for each place of the first axis, where that is no batch: of heads, say."""
    if len(a) > MOST:
        return NotImplemented
    return _stack([torch.mm(x, y) for x, y in zip(a.unbind(0), b.unbind(0), strict=True)])
