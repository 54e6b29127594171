"""The vector-Jacobian product of what is being recorded, by autograd, without what that imports for other callers."""

from typing import Any

import torch
from torch import Tensor


class _Seed(torch.autograd.Function):
    """One number with given gradients: handed any, `torch.autograd.grad` imports the compiler."""

    @staticmethod
    def forward(ctx: Any, cot: list[Tensor], *tensors: Tensor) -> Tensor:
        ctx.cot = cot
        return tensors[0].new_empty(())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, *ctx.cot


def gradients_of(found: list[Tensor], given: list[Tensor], cot: list[Tensor]) -> list[Tensor]:
    """Of tensors that were computed of given ones, by the gradients of the first; zeros where nothing depends."""
    if not any(t.requires_grad for t in found):
        return [torch.zeros_like(t) for t in given]
    seed: Any = _Seed.apply(cot, *found)
    learns = [t for t in given if t.requires_grad]  # and no truths and whole numbers
    grads = iter(torch.autograd.grad(seed, learns, create_graph=True, allow_unused=True))
    slopes = [next(grads) if t.requires_grad else None for t in given]
    return [torch.zeros_like(t) if g is None else g for t, g in zip(given, slopes, strict=True)]
