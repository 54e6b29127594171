"""Functions of PyTorch that a step may call, said in others while it is traced: those whose own gradients look at
numbers, or at places given as data.

Autograd goes through what they are said in, so that their gradients are right at zeros and infinities too.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..ir.graph import MOST

FUNCTIONS: dict[Any, Callable[..., Any]] = {}


class Said(TorchFunctionMode):
    """Under it a function that stands in FUNCTIONS is computed by its other words."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        said = FUNCTIONS.get(func)
        found = NotImplemented if said is None else said(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if found is NotImplemented else found


def _says(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(said: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update(dict.fromkeys(functions, said))
        return said

    return add


def running(
    x: Tensor, dim: int, join: Callable[[Tensor, Tensor], Tensor], total: Any = None, neutral: float = 0.0
) -> Any:  # fmt: skip
    """What joins each place with all before it.

    Where they are few one by one; else in blocks, to each of which the total of those before it is added, so that the
    operations are as many as the root of the length. That rounds otherwise than one by one.
    """
    size = x.shape[dim]
    if size <= MOST:
        return torch.cat([*itertools.accumulate(x.split(1, dim), join)], dim)
    if total is None or size > MOST * MOST:
        return NotImplemented
    width = math.isqrt(size - 1) + 1
    count = -(-size // width)
    blocks = torch.nn.functional.pad(x.movedim(dim, -1), (0, count * width - size)).unflatten(-1, (count, width))
    inside = torch.cat([*itertools.accumulate(blocks.split(1, -1), join)], -1)
    totals = total(blocks, -1, keepdim=True).split(1, -2)
    before = torch.cat([torch.full_like(totals[0], neutral), *itertools.accumulate(totals[:-1], join)], -2)
    return join(inside, before).flatten(-2)[..., :size].movedim(-1, dim)


@_says(torch.cumprod, Tensor.cumprod)
def _cumprod(x: Tensor, dim: int, *, dtype: Any = None) -> Any:
    return running(x, dim, torch.mul) if dtype in (None, x.dtype) and x.dim() > 1 else NotImplemented


@_says(torch.logcumsumexp, Tensor.logcumsumexp)
def _logcumsumexp(x: Tensor, dim: int) -> Any:
    return running(x, dim, torch.logaddexp, torch.logsumexp, -math.inf) if x.dim() > 1 else NotImplemented


@_says(torch.prod, Tensor.prod)
def _prod(x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """By halves."""
    if dtype not in (None, x.dtype) or dim is None or not x.is_floating_point() or x.shape[dim] > MOST:
        return NotImplemented
    while (size := x.shape[dim]) > 1:
        half = size // 2
        pairs = x.narrow(dim, 0, half) * x.narrow(dim, half, half)
        x = torch.cat([pairs, x.narrow(dim, size - 1, 1)], dim) if size % 2 else pairs
    return x if keepdim else x.squeeze(dim)


def _places(key: Any) -> list[int] | None:
    """The places that a list names, or a tensor made in the step of one."""
    if isinstance(key, (list, tuple)) and key and all(type(i) is int for i in key):
        return list(key)
    return None


def _chosen(x: Tensor, dim: int, places: Sequence[int]) -> Tensor:
    """Neighbours together, as slices."""
    size = x.shape[dim]
    if any(not -size <= i < size for i in places):
        raise IndexError(f"place {next(i for i in places if not -size <= i < size)} of {size} is asked for")
    runs: list[list[int]] = []
    for i in (i % size for i in places):
        if runs and i == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([i, i + 1])
    return torch.cat([x.narrow(dim, low, high - low) for low, high in runs], dim)


@_says(Tensor.__getitem__)
def _item(x: Tensor, key: Any) -> Any:
    """Places given as one list, beside whole axes."""
    keys = key if isinstance(key, tuple) else (key,)
    lists = [i for i, k in enumerate(keys) if isinstance(k, list)]
    if len(lists) != 1 or (places := _places(keys[lists[0]])) is None:
        return NotImplemented
    (at,) = lists
    if any(k is not Ellipsis and k != slice(None) for i, k in enumerate(keys) if i != at):
        return NotImplemented
    dim = at - len(keys) + x.dim() if Ellipsis in keys[:at] else at
    return _chosen(x, dim, places)
