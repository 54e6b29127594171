"""A linear layer and the cross-entropy of its softmax in one, which never holds all logits.

The gradient of the loss with respect to the logits is (softmax - one-hot) / N, known as soon as the logits are.
So it is taken in the forward pass, a block of rows at a time: the block stays in the cache, and what is kept
for the backward pass is as large as the weights, not as the logits.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 256  # rows a block: 256 x 10 000 logits in float32 are 10 MB


class TorchParts:
    """Products with a weight [V, H], and the softmax between them; the gradients add up.

    Args:
        weight: [V, H]. bias: [V].
        half: products in bfloat16.
    """

    rows = ROWS

    def __init__(self, weight: Tensor, bias: Tensor, half: bool) -> None:
        self.half, self.bias = half, bias
        self.factor = weight.bfloat16() if half else weight
        self.weight, self.shift = torch.zeros_like(weight), torch.zeros_like(bias)  # their gradients

    def logits(self, h: Tensor) -> Tensor:
        """h [N, H] to [N, V]."""
        return (self._low(h) @ self.factor.mT).to(h.dtype).add_(self.bias)

    def softmax(self, z: Tensor, targets: Tensor) -> Tensor:
        """Makes softmax - one-hot of logits [N, V], in place; gives -log p [N]. A target below 0 does not count."""
        wanted = targets.clamp(min=0)[:, None]
        norm = torch.logsumexp(z, dim=1, keepdim=True)
        loss = norm - z.gather(1, wanted)
        z.sub_(norm).exp_()
        z.scatter_add_(1, wanted, torch.full_like(loss, -1.0))
        dead = (targets < 0)[:, None]
        if bool(dead.any()):
            loss.masked_fill_(dead, 0.0)
            z.masked_fill_(dead, 0.0)
        return loss.squeeze(1)

    def back(self, grad: Tensor, width: int) -> Tensor:
        """The gradient of logits [N, V] to that of h [N, H]."""
        return self._low(grad) @ self.factor

    def add(self, grad: Tensor, h: Tensor) -> None:
        """The share of some rows in the gradients of weight and bias."""
        self.shift += grad.sum(0)
        if self.half:
            self.weight += self._low(grad).mT @ self._low(h)
        else:
            self.weight.addmm_(grad.mT, h)

    def _low(self, x: Tensor) -> Tensor:
        return x.bfloat16() if self.half else x


class LinearCrossEntropy(torch.autograd.Function):
    """(h [N, H], weight [V, H], bias [V], targets [N], make) to the mean loss; make(weight, bias) gives the parts."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, make: Callable[..., Any]) -> Tensor:
        parts = make(weight, bias)
        grad_h, total = torch.empty_like(h), h.new_zeros(())
        for start in range(0, len(targets), parts.rows):
            part = slice(start, start + parts.rows)
            z = parts.logits(h[part])
            total += parts.softmax(z, targets[part]).sum()
            grad_h[part] = parts.back(z, h.shape[1])
            parts.add(z, h[part])
        ctx.save_for_backward(grad_h, parts.weight, parts.shift)
        ctx.count = max(1, int((targets >= 0).sum()))
        return total / ctx.count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        scale = grad_outputs[0] / ctx.count
        h, weight, bias = ctx.saved_tensors
        return h * scale, weight * scale, bias * scale, None, None
