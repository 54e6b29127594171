"""Chance while training: ones and zeros for all steps at once, and dropout by them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import tree

DTYPES = (torch.float32, torch.float64)  # that our kernels draw
MANY = 1 << 12  # numbers that are worth waking threads for


def bernoulli(like: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """Ones with chance p in [0, 1), else zeros; of the dtype of `like`, and on its device.

    `torch.manual_seed` decides. What is drawn by a seed differs between eager and compiled code, as torch's own does.
    """
    if _ours(like, torch.Size(shape).numel()):
        from .cpu.library import dropout as own

        return own.bernoulli(shape, p, like.dtype)
    # Not in place, for vmap gives each row its own only so; in float32, so that one seed is one mask in any dtype.
    return (torch.rand(tuple(shape), dtype=torch.float32, device=like.device) < p).to(like.dtype)


def dropout(x: Tensor, p: float, lengths: Tensor | None = None) -> Tensor:
    """x / (1 - p), and zeros with chance p in [0, 1), as `torch.nn.functional.dropout` makes them.

    Past the lengths [B] of a [B, T, ...] zeros stand, whatever stood there. On the CPU our own kernel draws, from two
    words of torch's generator; elsewhere, and for few numbers, torch does.
    """
    if p and _ours(x, x.numel(), (*DTYPES, torch.bfloat16)):
        from .cpu.library import dropout as own

        wide = x if x.dtype in DTYPES else x.float()
        return own.dropout(wide, p, lengths).to(x.dtype)
    return tree.masked(F.dropout(x, p), lengths)


def _ours(like: Tensor, count: int, dtypes: tuple[torch.dtype, ...] = DTYPES) -> bool:
    """Whether our kernels may draw so many numbers: nobody follows the operations, and it pays."""
    return not tree.watched() and like.is_cpu and like.dtype in dtypes and count >= MANY
