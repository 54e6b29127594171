"""Losses for loops of your own: a loud check where torch gives a plausible wrong number (lecture S2 section 2.3).

A loss is a mean over the items that count; `lengths` [B] leaves out what is padding in [B, T, ...]. The likelihood
of a sequence is a product, so its logarithm, and with it the loss, is a SUM over the items.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def _counted(each: Tensor, lengths: Tensor | None) -> Tensor:
    """Mean of `each` [B] or [B, T] over the steps before each row's length."""
    if lengths is None:
        return each.mean()
    if each.ndim != 2:
        raise ValueError(f"lengths go with [B, T, ...], and this loss has one value a row: {tuple(each.shape)}")
    live = torch.arange(each.shape[1], device=each.device) < lengths[:, None]
    return each.masked_fill(~live, 0.0).sum() / live.sum().clamp(min=1)


def _log_probabilities(x: Tensor, who: str) -> None:
    total = x.detach().exp().sum(-1)
    if bool((x > 1e-6).any()) or not bool(torch.isclose(total, torch.ones_like(total), atol=1e-3).all()):
        raise ValueError(
            f"{who} wants log-probabilities along the last axis (log_softmax of the logits), and exp of what came sums "
            f"to {float(total.min()):.3g}..{float(total.max()):.3g}, not to 1; use cross_entropy for logits"
        )


def mse(predicted: Tensor, wanted: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean squared error of [B, T, D] (or [B, D]) against the same shape.

    Raises:
        ValueError: the shapes differ; torch would broadcast them and average over pairs nobody meant.
    """
    if predicted.shape != wanted.shape:
        raise ValueError(f"mse compares equal shapes, and got {tuple(predicted.shape)} and {tuple(wanted.shape)}")
    return _counted((predicted - wanted).square().mean(-1), lengths)


def cross_entropy(logits: Tensor, wanted: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean cross-entropy in nats of softmax(logits [B, T, V] or [B, V]) against class ids int64 [B, T] or [B]."""
    each = F.cross_entropy(logits.flatten(0, -2), wanted.flatten(), reduction="none")
    return _counted(each.view(wanted.shape), lengths)


def nll(log_probabilities: Tensor, wanted: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean negative log-likelihood in nats of class ids under log-probabilities [B, T, V] or [B, V].

    Raises:
        ValueError: what came are probabilities or logits: torch's nll_loss would give a number all the same.
    """
    _log_probabilities(log_probabilities, "nll")
    return _counted(-log_probabilities.gather(-1, wanted[..., None])[..., 0], lengths)


def kl(log_probabilities: Tensor, wanted: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean Kullback-Leibler divergence KL(wanted || predicted) in nats, both log-probabilities [B, T, V] or [B, V].

    Summed over classes and averaged over items (torch's default also divides by V, and takes `wanted` as
    probabilities): so KL(p, p) is 0.

    Raises:
        ValueError: one of the two is no log-probability.
    """
    _log_probabilities(log_probabilities, "kl")
    _log_probabilities(wanted, "kl")
    each = (wanted.exp() * (wanted - log_probabilities)).nan_to_num(nan=0.0).sum(-1)
    return _counted(each, lengths)
