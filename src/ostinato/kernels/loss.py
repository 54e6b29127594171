"""Losses that never hold what they are made of: which parts they are computed by."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .._torch import in_transform
from .dispatch import PREFERENCE, forced
from .torch.softmax import LinearCrossEntropy, TorchParts

IGNORED = -100  # a target that does not count: padding
LARGE = 2048  # entries of a vocabulary from which it pays to go block by block


def linear_cross_entropy(
    h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, bfloat16: bool = False, smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy in nats of softmax(h W^T + b) against `targets`; a target of -100 does not count.

    Where none counts it is 0.

    Args:
        h: [N, H]. weight: [V, H]. bias: [V].
        targets: [N] int64 in 0..V-1, or -100.
        bfloat16: products in bfloat16 (sums and softmax in the weight's dtype): the loss moves by about 1e-3 nats.
            Under autocast they are so anyway.
        smoothing: share of the wanted distribution that is spread evenly over all entries (Szegedy et al. 2016).

    Raises:
        IndexError: a target is neither in 0..V-1 nor -100.

    Large vocabularies go block by block (no second derivative there), on the CPU by our own kernels; small ones through
    torch's functions.
    """
    loss = _plain(h, weight, bias, targets, bfloat16)
    return loss if smoothing == 0 else loss + smoothing * _preference(h, weight, bias, targets)


def _preference(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean of target logit - mean logit: what smoothing adds to the loss. The mean of all logits is one product."""
    real = targets != IGNORED
    h, wanted = h[real].to(weight.dtype), targets[real]
    apart = (h * (F.embedding(wanted, weight) - weight.mean(0))).sum() + (bias[wanted] - bias.mean()).sum()
    return apart / max(1, len(wanted))


def _plain(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, bfloat16: bool) -> Tensor:
    if weight.shape[0] < LARGE or h.device.type != "cpu" or not torch.is_grad_enabled() or not len(targets):
        total = F.cross_entropy(F.linear(h, weight, bias), targets, ignore_index=IGNORED, reduction="sum")
        return total / (targets != IGNORED).sum().clamp(min=1)
    mixed = torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", enabled=False):
        half = mixed or (bfloat16 and h.dtype == torch.float32)
        parts = partial(_parts(weight, targets, half), half=half)
        return LinearCrossEntropy.apply(h.to(weight.dtype).contiguous(), weight, bias, targets, parts)


def _parts(weight: Tensor, targets: Tensor, half: bool) -> Any:
    """Our own products, where they may run and are the faster ones."""
    watched = torch.compiler.is_compiling() or in_transform()
    if not watched:  # a tracer has no values
        _check(targets, weight.shape[0])
    asked = forced() == "numba" or (forced() is None and "numba" in PREFERENCE["cpu"])
    if watched or not asked or weight.dtype not in (torch.float32, torch.float64) or weight.shape[0] >= 1 << 24:
        return TorchParts
    from .cpu.runtime.cpu_features import has_avx512_bf16

    if half and (weight.dtype != torch.float32 or not has_avx512_bf16()):
        return TorchParts
    from .cpu.library.cross_entropy import OwnParts

    return OwnParts


def _check(targets: Tensor, entries: int) -> None:
    """Raises IndexError, as torch does, for a target that is no entry and no padding."""
    counted = targets[targets != IGNORED]
    if len(counted) and not 0 <= int(counted.min()) <= int(counted.max()) < entries:
        raise IndexError(
            f"targets must lie in 0..{entries - 1}, or be {IGNORED}, and reach from {counted.min()} to {counted.max()}"
        )
