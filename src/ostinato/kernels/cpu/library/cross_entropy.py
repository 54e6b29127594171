"""The parts of a softmax layer with cross-entropy, by our own products: see `torch.softmax` for the whole."""

import torch
from torch import Tensor

from ..executor import executor
from ..gemm.host import linear_jobs
from ..gemm.packing import pack
from ..runtime.jobs import c_function, spans
from ..runtime.memory import empty
from ..runtime.thread_team import parallel_for

BLOCK = 1 << 23  # logits that are held at once


class OwnParts:
    """Products with a weight [V, H], and the softmax between them; the gradients add up.

    Args:
        weight: [V, H], float32 or float64. bias: [V].
        half: the factors of products are bfloat16.
    """

    def __init__(self, weight: Tensor, bias: Tensor, half: bool) -> None:
        self.bias, self.rows = bias.contiguous(), max(96, BLOCK // len(weight))
        self.executor = executor(weight.dtype, "bfloat16" if half else None)
        self.threads = torch.get_num_threads()
        self.across = pack(weight.t(), parallel_for, self.threads, self.executor.kind)
        self.along = pack(weight, parallel_for, self.threads, self.executor.kind)
        self.weight: Tensor | None = None  # its gradient
        self.shift: Tensor | None = None

    def logits(self, h: Tensor) -> Tensor:
        """h [N, H] to [N, V]."""
        return self._times(h, self.across, self.bias, len(self.bias))

    def softmax(self, z: Tensor, targets: Tensor) -> Tensor:
        """Makes softmax - one-hot of logits [N, V], in place; gives -log p [N]. A target below 0 does not count."""
        losses, wanted = torch.empty(len(z), dtype=z.dtype), targets.to(z.dtype)
        places = (z.data_ptr(), wanted.data_ptr(), losses.data_ptr())
        function = c_function("library.cross_entropy_device.cross_entropy", self.executor.name)
        parts = spans(len(z), self.threads, 1)
        parallel_for([(function, (i, j, z.shape[1], z.stride(0), *places)) for i, j in parts])
        return losses

    def back(self, grad: Tensor, width: int) -> Tensor:
        """The gradient of logits [N, V] to that of h [N, H]."""
        return self._times(grad, self.along, None, width)

    def add(self, grad: Tensor, h: Tensor) -> None:
        """The share of some rows in the gradients of weight and bias."""
        weight, shift = self.executor.outer_and_total(grad, h)
        if self.weight is None or self.shift is None:
            self.weight, self.shift = weight, shift
        else:
            self.weight += weight
            self.shift += shift

    def _times(self, a: Tensor, packed: Tensor, bias: Tensor | None, width: int) -> Tensor:
        out = empty((len(a), width), a.dtype)
        parallel_for(linear_jobs(a, packed, bias, out, self.threads, self.executor.kind))
        return out
