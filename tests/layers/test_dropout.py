"""Dropout and LockedDropout: what is dropped, how often, and that nothing is in evaluation mode."""

import pytest
import torch

from ostinato.layers import Dropout, LockedDropout

ONES = torch.ones(50, 40, 20)


@pytest.mark.parametrize("layer", [Dropout, LockedDropout])
def test_a_share_p_is_zero_and_the_mean_is_kept(layer):
    torch.manual_seed(0)
    y, state = layer(0.3)(ONES)
    assert state == ()
    assert y.eq(0).double().mean().item() == pytest.approx(0.3, abs=0.05)  # 1000 masks: standard deviation 0.0145
    assert y.max().item() == pytest.approx(1 / 0.7)


@pytest.mark.parametrize("layer", [Dropout, LockedDropout])
def test_evaluation_mode_changes_nothing_but_the_padding(layer):
    part = layer(0.3).eval()
    assert torch.equal(part(ONES)[0], ONES)
    y = part(ONES, lengths=torch.full((50,), 30))[0]
    assert y[:, :30].eq(1).all()
    assert y[:, 30:].eq(0).all()


def test_locked_dropout_drops_a_feature_at_all_steps_or_none():
    torch.manual_seed(0)
    part = LockedDropout(0.5)
    y, _ = part(ONES)
    assert (y == y[:, :1]).all()
    assert not torch.equal(y[0], y[1])  # rows have their own masks
    assert not torch.equal(part(ONES)[0], y)  # and calls


def test_dropout_drops_elements_apart():
    torch.manual_seed(0)
    y, _ = Dropout(0.5)(ONES)
    assert not (y == y[:, :1]).all()


@pytest.mark.parametrize("p", [-0.1, 1.0, 50])
def test_p_is_a_chance(p):
    with pytest.raises(ValueError, match="from 0 up to but not including 1"):
        LockedDropout(p)
    with pytest.raises(ValueError, match="from 0 up to but not including 1"):
        Dropout(p)
