"""What a loss may add to keep outputs small and slow (Merity et al. 2018, "Regularizing and Optimizing LSTM")."""

import torch
from torch import Tensor


def activation(h: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean of h^2 over all features of the real steps of h [B, T, D]; 0 where there is none. Merity's AR."""
    live = _live(h, lengths)
    return h.masked_fill(~live[..., None], 0).square().sum() / (live.sum() * h.shape[-1]).clamp(min=1)


def temporal(h: Tensor, lengths: Tensor | None = None, resets: Tensor | None = None) -> Tensor:
    """Mean of (h_t - h_{t-1})^2 over all features of h [B, T, D]; 0 where there is no such pair. Merity's TAR.

    Both steps of a pair are real, and of one sequence: a reset at t parts t from t-1.
    """
    live = _live(h, lengths)[:, 1:]
    if resets is not None:
        live = live & ~resets[:, 1:]
    change = (h[:, 1:] - h[:, :-1]).masked_fill(~live[..., None], 0)
    return change.square().sum() / (live.sum() * h.shape[-1]).clamp(min=1)


def silent(loss: Tensor, penalty: Tensor) -> Tensor:
    """The loss, to the bit, with the gradient of loss + penalty: what is told and compared stays the loss."""
    return loss + (penalty - penalty.detach())


def _live(h: Tensor, lengths: Tensor | None) -> Tensor:
    """Which steps are real, [B, T] bool."""
    steps = torch.arange(h.shape[1], device=h.device)
    return (steps < (h.shape[1] if lengths is None else lengths[:, None])).expand(h.shape[:2])
