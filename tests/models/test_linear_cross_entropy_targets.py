"""Which targets the loss of a large vocabulary takes. Oracle: torch's own cross-entropy."""

import pytest
import torch
from torch.nn import functional as F

from ostinato.kernels import dispatch
from ostinato.kernels.loss import LARGE, linear_cross_entropy

H, WEIGHT, BIAS = torch.ones(3, 4), torch.zeros(LARGE, 4, requires_grad=True), torch.zeros(LARGE)


@pytest.mark.parametrize("order", [("aten",), ("numba", "aten")], ids=["torch's products", "our products"])
@pytest.mark.parametrize("wrong", [-1, -5, -99, -101, LARGE])
def test_a_target_that_is_no_entry_is_refused_beside_padding_too(wrong, order, monkeypatch):
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", order)
    for targets in ([-100, wrong, 3], [0, wrong, 3], [wrong, wrong, wrong]):
        given = torch.tensor(targets)
        with pytest.raises(IndexError, match="out of bounds"):
            F.cross_entropy(F.linear(H, WEIGHT, BIAS), given)
        with pytest.raises(IndexError, match=rf"must lie in 0\.\.{LARGE - 1}, or be -100, and reach from "):
            linear_cross_entropy(H, WEIGHT, BIAS, given)


@pytest.mark.parametrize("order", [("aten",), ("numba", "aten")], ids=["torch's products", "our products"])
def test_padding_alone_is_no_error(order, monkeypatch):
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", order)
    assert linear_cross_entropy(H, WEIGHT, BIAS, torch.full((3,), -100)).item() == 0
