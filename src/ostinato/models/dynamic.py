"""Dynamic evaluation: a model that learns from a text while it reads it (Krause et al. 2018).

    θ_i = θ_{i-1} - η ∇L(s_i) / (RMS + ε) + λ (θ_0 - θ_{i-1}) ⊙ min(RMS / mean(RMS), 1 / λ)

Segment s_i is scored by θ_{i-1}, that is before the weights have seen it. RMS is the root of the mean square of the
gradients on the training text; without it both quotients are 1 (SGD).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import tree
from ..recurrent import Recurrent


def dynamic_score(
    model: Recurrent[Any],
    ids: Tensor,
    *,
    lr: float,
    decay: float = 0.0,
    segment: int = 5,
    rms: Sequence[Tensor] | None = None,
    epsilon: float = 2e-5,
    end: int | None = None,
) -> Tensor:
    """-log p of every token of a text but the first, in nats, [N - 1] float64, by a model that adapts as it reads.

    The text is one stream, the state goes on from segment to segment, dropout is off. Afterwards the model has its
    weights, its mode and its gradients as before.

    Args:
        model: ids [B, T] -> logits [B, T, V].
        ids: [N] int64 on the model's device, N >= 2.
        lr: η; 0 with decay 0 gives what `score` gives.
        decay: λ, how fast the weights go back to the trained ones, from 0 up to 1.
        segment: tokens between two updates.
        rms: what `gradient_rms` gave; None: plain SGD, whose best lr is some 1,000 times larger.
        epsilon: ε, beside `rms` alone.
        end: the token that ends a line, for a model of lines: after it the state (not the weights) begins anew.

    Raises:
        ValueError: fewer than two tokens, or a number out of its range.
    """
    _check(ids, lr, decay, segment)
    inputs, targets = ids[None, :-1], ids[1:]
    nats, state = [], None
    with _borrowed(model) as weights:
        adapt = _update(weights, lr, decay, rms, epsilon)
        for t in range(0, len(targets), segment):
            x, y = inputs[:, t : t + segment], targets[t : t + segment]
            each, state = _nats(model, x, y, state, end)
            nats.append(each.detach().double())
            each.mean().backward()
            adapt()
    return torch.cat(nats)


def gradient_rms(
    model: Recurrent[Any],
    ids: Tensor,
    *,
    segment: int = 5,
    streams: int = 100,
    batches: int | None = None,
    end: int | None = None,
) -> list[Tensor]:
    """sqrt(mean of squared gradients) of each weight of `model.parameters()`, over a (training) text.

    Args:
        ids: [N] int64 on the model's device.
        segment: tokens of a stream in one gradient: as many as `dynamic_score` will read.
        streams: pieces of the text read side by side; a gradient is that of the mean over all of them. More of them
            make the root smaller, and so the best lr.
        batches: gradients to take; None: the whole text.

    Raises:
        ValueError: the text is too short for so many streams.
    """
    steps = (len(ids) - 1) // streams
    if streams < 1 or segment < 1 or steps < 1:
        raise ValueError(
            f"a text of {len(ids)} tokens cannot be cut into {streams} streams in segments of {segment}; "
            "each needs at least one token, and one more to predict"
        )
    inputs = ids[: streams * steps].view(streams, steps)
    targets = ids[1 : streams * steps + 1].view(streams, steps)
    count, state = 0, None
    with _borrowed(model) as weights:
        squares = [torch.zeros_like(w) for w in weights]
        for t in list(range(0, steps, segment))[:batches]:
            part = slice(t, t + segment)
            each, state = _nats(model, inputs[:, part], targets[:, part].flatten(), state, end)
            each.mean().backward()
            for square, w in zip(squares, weights, strict=True):
                if w.grad is not None:
                    square.addcmul_(w.grad, w.grad)
                    w.grad = None
            count += 1
    return [(square / count).sqrt() for square in squares]


def _check(ids: Tensor, lr: float, decay: float, segment: int) -> None:
    if len(ids) < 2:
        raise ValueError(f"a text of {len(ids)} tokens cannot be scored: each token is predicted from those before it")
    if not (lr >= 0 and 0 <= decay <= 1 and segment >= 1):
        raise ValueError(
            f"lr must be 0 or more, decay from 0 to 1, segment 1 or more; they are {lr}, {decay} and {segment}"
        )


def _nats(model: Recurrent[Any], x: Tensor, y: Tensor, state: Any, end: int | None) -> tuple[Tensor, Any]:
    """-log p of y [N] after x [B, T], [N], and the state without its history."""
    logits, state = model(x, state, None, None if end is None else x == end)
    return F.cross_entropy(logits.flatten(0, 1), y, reduction="none"), tree.detach(state)


@contextmanager
def _borrowed(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """The weights, in evaluation mode and all with gradients; everything is put back at the end."""
    weights, training = list(model.parameters()), model.training
    before = [(w.detach().clone(), w.grad, w.requires_grad) for w in weights]
    model.eval()
    try:
        for w in weights:
            w.requires_grad_(True)
            w.grad = None
        with torch.enable_grad():
            yield weights
    finally:
        model.train(training)
        with torch.no_grad():
            for w, (value, grad, needed) in zip(weights, before, strict=True):
                w.copy_(value)
                w.grad = grad
                w.requires_grad_(needed)


def _update(weights: list[nn.Parameter], lr: float, decay: float, rms: Sequence[Tensor] | None, epsilon: float) -> Any:
    """What moves the weights by their gradients, and drops these."""
    trained = [w.detach().clone() for w in weights] if decay else []
    if rms is None:
        rates, backs = ([w.new_tensor(value) for w in weights] for value in (lr, decay))
    else:
        mean = torch.stack([r.mean() for r in rms]).mean()  # of the matrices' means, as the authors' program has it
        rates = [lr / (r + epsilon) for r in rms]
        # Beyond 1 the way back would lead past the trained weights.
        backs = [(decay * r / mean).clamp(max=1.0) for r in rms] if decay else []

    @torch.no_grad()
    def adapt() -> None:
        for number, w in enumerate(weights):
            gone = trained[number] - w if decay else None
            if w.grad is not None:
                w.addcmul_(w.grad, rates[number], value=-1)
                w.grad = None
            if gone is not None:
                w.addcmul_(gone, backs[number])

    return adapt
