"""Activation regularisation against loops over the printed formulas (Merity et al. 2018, section 4.7)."""

import math

import pytest
import torch
from torch import Tensor

from ostinato.layers.penalties import activation, silent, temporal

B, T, D = 4, 7, 3
LENGTHS = [7, 1, 0, 4]


def sample() -> Tensor:
    return torch.randn(B, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def by_hand(h: Tensor, lengths: list[int], resets: Tensor | None) -> tuple[float, float]:
    squares, changes = [], []
    for b, n in enumerate(lengths):
        for t in range(n):
            squares += [float(v) ** 2 for v in h[b, t]]
            if t and not (resets is not None and resets[b, t]):
                changes += [(float(v) - float(u)) ** 2 for u, v in zip(h[b, t - 1], h[b, t], strict=True)]
    return math.fsum(squares) / len(squares), math.fsum(changes) / len(changes)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("cut", [False, True])
def test_they_are_means_over_the_real_steps(ragged: bool, cut: bool) -> None:
    h = sample()
    resets = torch.rand(B, T, generator=torch.Generator().manual_seed(1)) < 0.3 if cut else None
    lengths = LENGTHS if ragged else [T] * B
    given = torch.tensor(lengths) if ragged else None
    small, slow = by_hand(h, lengths, resets)
    assert float(activation(h, given)) == pytest.approx(small, rel=1e-12)
    assert float(temporal(h, given, resets)) == pytest.approx(slow, rel=1e-12)


def test_what_stands_in_the_padding_has_no_part_in_value_or_gradient() -> None:
    lengths = torch.tensor(LENGTHS)
    dead = torch.arange(T) >= lengths[:, None]
    slopes = []
    for filler in (0.0, math.nan):
        h = sample().masked_fill(dead[..., None], filler).requires_grad_()
        loss = activation(h, lengths) + 3 * temporal(h, lengths)
        loss.backward()
        assert h.grad is not None
        slopes.append(h.grad)
    assert torch.equal(slopes[0], slopes[1])
    assert not slopes[0][dead].any()
    assert slopes[0][~dead].all()


def test_where_nothing_is_real_they_are_zero() -> None:
    h = sample().requires_grad_()
    nothing = torch.zeros(B, dtype=torch.int64)
    both = activation(h, nothing) + temporal(h, nothing) + temporal(h[:, :1])
    both.backward()
    assert both.item() == 0
    assert h.grad is not None
    assert not h.grad.any()


def test_a_silent_penalty_is_in_the_gradient_and_not_in_the_value() -> None:
    w = torch.tensor([0.1, 0.7], requires_grad=True)
    loss = (3 * w).sum()
    told = silent(loss, 1e6 * w.square().sum())
    assert told.item() == loss.item()
    told.backward()
    torch.testing.assert_close(w.grad, 3 + 2e6 * w.detach())
