"""Masks for training: ones and zeros by chance, for all steps at once."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack  # pyright: ignore[reportMissingImports]

MANY = 1 << 12  # numbers that are worth waking threads for


def bernoulli(like: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """Ones with chance p in [0, 1), else zeros; of the dtype of `like`, and on its device.

    `torch.manual_seed` decides. What is drawn by a seed differs between eager and compiled code, as torch's own does.
    """
    traced = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
    plain = not traced and peek_interpreter_stack() is None and like.dtype in (torch.float32, torch.float64)
    if plain and like.is_cpu and torch.Size(shape).numel() >= MANY:
        from .cpu import chance

        return chance.bernoulli(shape, p, like.dtype)
    # Not in place, for vmap gives each row its own only so; in float32, so that one seed is one mask in any dtype.
    return (torch.rand(tuple(shape), dtype=torch.float32, device=like.device) < p).to(like.dtype)
