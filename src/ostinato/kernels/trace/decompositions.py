"""What composite ATen operations consist of: torch's own decompositions, where those import torch's compiler.

Each gives the nodes that torch's gives for floating numbers; what is not here is decomposed by torch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

PARTS: dict[Any, Callable[..., Any]] = {}
_ATEN, _PRIMS = torch.ops.aten, torch.ops.prims


def _of(*operations: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(parts: Callable[..., Any]) -> Callable[..., Any]:
        PARTS.update(dict.fromkeys(operations, parts))
        return parts

    return add


@_of(_ATEN.split.Tensor)
def _split(x: Tensor, size: int, dim: int = 0) -> Any:
    whole, rest = divmod(x.shape[dim], size)
    return torch.split(x, [size] * whole + [rest] * (rest > 0), dim)


def _reduced(x: Tensor, dim: Any, keep: bool, *reductions: Callable[[list[int]], Tensor]) -> list[Tensor]:
    axes = sorted(axis % x.dim() for axis in dim) if dim else list(range(x.dim()))
    rest = [i for i in range(x.dim()) if i not in axes]
    shape = [size if i in rest else 1 for i, size in enumerate(x.shape)]
    found = [reduction(axes) for reduction in reductions]
    return [_PRIMS.broadcast_in_dim.default(t, shape, rest) for t in found] if keep else found


def _average(x: Tensor, total: Tensor) -> Tensor:
    return _PRIMS.div.default(total, x.numel() / total.numel())


@_of(_ATEN.mean.dim, _ATEN.mean.default)
def _mean(x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if dtype not in (None, x.dtype):
        return NotImplemented
    (total,) = _reduced(x, dim, keepdim, lambda axes: _PRIMS.sum.default(x, axes))
    return _average(x, total)


@_of(_ATEN.var_mean.correction)
def _var_mean(x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    off = 1.0 if correction is None else float(correction)
    (var,) = _reduced(x, dim, keepdim, lambda axes: _PRIMS.var.default(x, axes, off))
    return var, _mean(x, dim, keepdim)


@_of(_ATEN.native_layer_norm.default)
def _layer_norm(x: Tensor, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    var, mean = _var_mean(x, list(range(x.dim() - len(shape), x.dim())), correction=0, keepdim=True)
    rstd = torch.rsqrt(var + eps)
    out = (x - mean) * rstd
    out = out if weight is None else out * weight
    return out if bias is None else out + bias, mean, rstd


@_of(_ATEN.native_layer_norm_backward.default)
def _layer_norm_backward(
    grad: Tensor, x: Tensor, shape: Sequence[int], mean: Tensor, rstd: Tensor, weight: Any, bias: Any, mask: Any
) -> tuple[Any, Any, Any]:
    outer = list(range(x.dim() - len(shape)))
    inner, count = list(range(len(outer), x.dim())), math.prod(shape)
    hat = (x - mean) * rstd
    dhat = grad if weight is None else grad * weight
    a, b = dhat * count, torch.sum(dhat, inner, True)
    rest = a - b - hat * torch.sum(dhat * hat, inner, True)
    dx = rstd / count * rest if mask[0] else None
    dweight = torch.sum(grad * hat, outer, False) if mask[1] and weight is not None else None
    return dx, dweight, torch.sum(grad, outer, False) if mask[2] and bias is not None else None


@_of(_ATEN._softmax.default)
def _softmax(x: Tensor, dim: int, half: bool) -> Tensor:
    exps = torch.exp(x - torch.amax(x, dim, keepdim=True))
    return exps / torch.sum(exps, dim, keepdim=True)


@_of(_ATEN._softmax_backward_data.default)
def _softmax_backward(grad: Tensor, out: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    moved = grad * out
    return moved - out * torch.sum(moved, dim=dim, keepdim=True)


@_of(_ATEN._log_softmax.default)
def _log_softmax(x: Tensor, dim: int, half: bool) -> Tensor:
    shifted = x - torch.amax(x, dim, keepdim=True)
    return shifted - torch.log(torch.sum(torch.exp(shifted), dim, keepdim=True))


@_of(_ATEN._log_softmax_backward_data.default)
def _log_softmax_backward(grad: Tensor, out: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    return grad - torch.exp(out) * torch.sum(grad, dim=dim, keepdim=True)


@_of(_ATEN.softplus.default)
def _softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    scaled = x * beta
    return torch.where(scaled > threshold, x, torch.true_divide(torch.log1p(torch.exp(scaled)), beta))


@_of(_ATEN.leaky_relu.default)
def _leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    return torch.where(torch.gt(x, 0), x, torch.mul(x, slope))


@_of(_ATEN.unbind.int)
def _unbind(x: Tensor, dim: int = 0) -> Any:
    return tuple(torch.squeeze(part, dim) for part in torch.tensor_split(x, x.shape[dim], dim))


@_of(_ATEN.empty_like.default)
def _empty_like(x: Tensor, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
    return torch.empty(x.shape, dtype=dtype or x.dtype, device=device or x.device)


def _filled(number: int, name: str) -> None:
    @_of(getattr(_ATEN, name).default)
    def _(size: Sequence[int], *, dtype: Any = None, **options: Any) -> Tensor:
        return torch.full(size, number, dtype=dtype or torch.get_default_dtype(), **options)

    @_of(getattr(_ATEN, f"new_{name}").default)
    def _(x: Tensor, size: Sequence[int], *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
        return torch.full(size, number, dtype=dtype or x.dtype, device=device or x.device)

    @_of(getattr(_ATEN, f"{name}_like").default)
    def _(x: Tensor, *, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
        return torch.full(x.shape, number, dtype=dtype or x.dtype, device=device or x.device)


_filled(0, "zeros")
_filled(1, "ones")
