"""Chance on the threads of torch's team: torch draws numbers one by one, on one thread."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..runtime.jobs import c_function, dtype_of, spans
from ..runtime.memory import empty
from ..runtime.thread_team import parallel_for
from ..simd.width import LARGEST
from .padding import zero_past_lengths


def bernoulli(shape: Sequence[int], p: float, dtype: torch.dtype) -> Tensor:
    """Ones with chance p in [0, 1), rounded to 32 bits, else zeros: float32 or float64.

    Two words of torch's generator are the key; so `torch.manual_seed` decides, on any machine and number of threads.
    """
    count = math.prod(shape)
    stride = _stride(count)
    out = empty((4 * stride,), dtype)
    _launch("simd.philox.bernoulli", out, stride, (stride, *_key(), round(p * 2**32), out.data_ptr()))
    return out[:count].view(tuple(shape))


def dropout(x: Tensor, p: float, lengths: Tensor | None) -> Tensor:
    """x times what `bernoulli(x.shape, 1 - p, x.dtype)` would draw, over its chance; p in [0, 1).

    Zeros stand past the lengths [B] of a [B, T, ...]. The mask is never kept: backward draws it again.
    """
    kept = max(1, round((1 - p) * 2**32))
    return Dropped.apply(x, (*_key(), kept), None if lengths is None else lengths.to(x.dtype))


class Dropped(torch.autograd.Function):
    """x without the numbers that a key and a bound drop, and past the lengths. Linear, so it is its own backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, drawn: tuple[int, int, int], lengths: Tensor | None) -> Tensor:
        ctx.drawn, ctx.lengths = drawn, lengths
        x = x.contiguous()
        out, count = empty(x.shape, x.dtype), x.numel()
        stride = _stride(count)
        _launch("simd.philox.dropout", x, stride, (stride, count, *drawn, x.data_ptr(), out.data_ptr()))
        if lengths is not None:
            zero_past_lengths([out], lengths)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return Dropped.apply(grads[0], ctx.drawn, ctx.lengths), None, None


def _key() -> tuple[int, int]:
    low, high = torch.empty(2, dtype=torch.int64).random_(1 << 32).tolist()
    return low, high


def _stride(count: int) -> int:
    """Each counter draws four numbers, so far from each other."""
    return -(-count // (4 * LARGEST)) * LARGEST


def _launch(body: str, like: Tensor, stride: int, rest: tuple[int, ...]) -> None:
    function = c_function(body, dtype_of(like))
    parallel_for([(function, (i, j, *rest)) for i, j in spans(stride, torch.get_num_threads(), LARGEST)])
