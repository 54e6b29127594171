"""A linear layer and the cross-entropy of its softmax in one, which never holds all logits.

The gradient of the loss with respect to the logits is (softmax - one-hot) / N, known as soon as the logits are.
So it is taken in the forward pass, a block of rows at a time: the block stays in the cache, and what is kept
for the backward pass is as large as the weights, not as the logits.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

ROWS = 256  # rows a block: 256 x 10 000 logits in float32 are 10 MB
IGNORED = -100  # a target that does not count: padding


@cache
def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AMX or AVX512-BF16)."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, half: bool) -> Tensor:
        factor = weight.bfloat16() if half else weight
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        grad_h = torch.empty_like(h)
        total = h.new_zeros(())
        counted = targets != IGNORED
        everything = bool(counted.all())
        count = len(targets) if everything else int(counted.sum())
        for start in range(0, len(targets), ROWS):
            part = slice(start, start + ROWS)
            block, wanted = h[part], targets[part].clamp(min=0)[:, None]
            low = block.bfloat16() if half else block
            grad = (low @ factor.mT).to(h.dtype).add_(bias)  # the logits, for now
            norm = torch.logsumexp(grad, dim=1, keepdim=True)
            loss = norm - grad.gather(1, wanted)
            grad.sub_(norm).exp_()
            grad.scatter_add_(1, wanted, torch.full_like(loss, -1.0))
            if not everything:
                dead = ~counted[part, None]
                loss, grad = loss.masked_fill(dead, 0.0), grad.masked_fill_(dead, 0.0)
            total += loss.sum()
            grad_bias += grad.sum(0)
            grad = grad.bfloat16() if half else grad
            grad_h[part] = grad @ factor
            if half:
                grad_weight += grad.mT @ low
            else:
                grad_weight.addmm_(grad.mT, low)
        ctx.save_for_backward(grad_h, grad_weight, grad_bias)
        ctx.count = max(1, count)
        return total / ctx.count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        scale = grad_outputs[0] / ctx.count
        h, weight, bias = ctx.saved_tensors
        return h * scale, weight * scale, bias * scale, None, None


def linear_cross_entropy(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, bfloat16: bool = False) -> Tensor:
    """Mean cross-entropy in nats of softmax(h W^T + b) against `targets`; a target of -100 does not count.

    Where none counts it is 0.

    Args:
        h: [N, H]. weight: [V, H]. bias: [V].
        targets: [N] int64 in 0..V-1, or -100.
        bfloat16: products in bfloat16 (sums and softmax in the weight's dtype): the loss moves by about 1e-3 nats.
            Under autocast they are so anyway.

    Large vocabularies go block by block (no second derivative there); small ones through torch's own functions.
    """
    if weight.shape[0] < 2048 or h.device.type != "cpu" or not torch.is_grad_enabled():
        total = F.cross_entropy(F.linear(h, weight, bias), targets, ignore_index=IGNORED, reduction="sum")
        return total / (targets != IGNORED).sum().clamp(min=1)
    mixed = torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", enabled=False):
        half = mixed or (bfloat16 and h.dtype == torch.float32)
        return _LinearCrossEntropy.apply(h.to(weight.dtype), weight, bias, targets, half)
