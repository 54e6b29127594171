"""Pooling over time. Oracles: each row alone in plain sums; the final states of a bidirectional layer; numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.cells import GRU, LSTM
from ostinato.layers import Bidirectional, Pool
from ostinato.layers.pool import KINDS
from ostinato.registry import UnknownNameError

PLAIN = {
    "last": lambda y: y[-1],
    "first_last": lambda y: np.concatenate([y[0], y[-1]]),
    "mean": lambda y: y.mean(0),
    "max": lambda y: y.max(0),
    "max_mean": lambda y: np.concatenate([y.max(0), y.mean(0)]),
    "concat": lambda y: np.concatenate([y[-1], y.max(0), y.mean(0)]),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_pooling_is_what_its_name_says_of_each_row(kind):
    y, lengths = torch.randn(4, 7, 6, dtype=torch.float64), [7, 4, 1, 0]
    pool = Pool(kind, 6)
    got = pool(y, torch.tensor(lengths)).numpy()
    assert got.shape == (4, pool.d_out)
    for b, n in enumerate(lengths):
        want = PLAIN[kind](y[b, :n].numpy()) if n else np.zeros(pool.d_out)
        np.testing.assert_allclose(got[b], want, rtol=1e-12)


def test_attention_pools_by_a_softmax_over_the_row():
    y, lengths = torch.randn(4, 7, 6, dtype=torch.float64), [7, 4, 1, 0]
    pool = Pool("attention", 6).double()
    weights, got = pool.attend(y, torch.tensor(lengths)), pool(y, torch.tensor(lengths))
    first, _, second = pool.scores
    for b, n in enumerate(lengths):
        scores = np.tanh(y[b, :n].numpy() @ first.weight.detach().numpy().T + first.bias.detach().numpy())
        e = np.exp(scores @ second.weight.detach().numpy()[0])
        np.testing.assert_allclose(weights[b, :n].detach().numpy(), e / e.sum() if n else e, rtol=1e-12)
        assert weights[b, n:].eq(0).all()
        np.testing.assert_allclose(got[b].detach().numpy(), (e / e.sum() if n else e) @ y[b, :n].numpy(), atol=1e-12)


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_last_of_two_directions_is_the_final_state_of_each(make):
    """Lecture S1: torch.cat((hidden[-2], hidden[-1])). Step n of the backward layer has read one word only."""
    body = Bidirectional(make(5, 6), make(5, 6))
    x, lengths = torch.randn(3, 7, 5), torch.tensor([7, 3, 0])
    y, state = body(x, None, lengths)
    want = torch.cat([state.forward.h, state.backward.h], dim=-1)
    assert torch.equal(Pool("last", 12, directions=2)(y, lengths), want)
    assert torch.equal(Pool("last", 12, directions=2)(y[:1]), want[:1])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4), directions=st.sampled_from([1, 2]))
def test_padding_changes_nothing(kind, lengths, directions):
    """Each row is pooled as alone, and gets the gradients that it gets alone, whatever fills the padding."""
    pool = Pool(kind, 4, directions).double()
    y = torch.randn(len(lengths), 6, 4, dtype=torch.float64)
    real = torch.arange(6) < torch.tensor(lengths)[:, None]
    slope = torch.randn(len(lengths), pool.d_out, dtype=torch.float64)
    for fill in (-7.0, 1e300, float("nan")):
        filled = torch.where(real[..., None], y, fill).requires_grad_()
        got = pool(filled, torch.tensor(lengths))
        (grad,) = torch.autograd.grad((got * slope).sum(), filled)
        assert grad[~real].eq(0).all()
        for b, n in enumerate(lengths):
            if n == 0:
                assert got[b].eq(0).all()
                continue
            alone = y[b : b + 1, :n].clone().requires_grad_()
            want = pool(alone)
            torch.testing.assert_close(got[b], want[0], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(
                grad[b : b + 1, :n], torch.autograd.grad((want * slope[b]).sum(), alone)[0], rtol=1e-12, atol=1e-12
            )


def test_bad_pools_are_told():
    with pytest.raises(UnknownNameError, match="no pooling is called 'maxx'; did you mean max"):
        Pool("maxx", 4)
    with pytest.raises(ValueError, match="share the 5 features evenly"):
        Pool("last", 5, directions=2)
    with pytest.raises(ValueError, match="'mean' pooling has no attention weights; make the Pool with kind"):
        Pool("mean", 4).attend(torch.randn(2, 3, 4))
