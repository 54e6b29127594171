"""Rows of unequal length."""

import torch
from torch import Tensor


def last(y: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The last valid step of each row: many-to-one.

    Args:
        y: [B, T, D].
        lengths: [B] int64 in 0..T; None: all rows are T long.

    Returns:
        [B, D]; zeros for a row of length 0.
    """
    if lengths is None:
        return y[:, -1]
    at = (lengths - 1).clamp(min=0)
    picked = y[torch.arange(y.shape[0], device=y.device), at]
    return torch.where((lengths > 0)[:, None], picked, torch.zeros_like(picked))
