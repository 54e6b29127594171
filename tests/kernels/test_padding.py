"""Zeros past the rows' lengths. Oracle: torch's `where`."""

import pytest
import torch
from kept import with_lanes

from ostinato import tree
from ostinato.kernels.cpu.library.padding import zero_past_lengths


@pytest.fixture(params=["host", "1", "4"])
def count(request, monkeypatch):
    yield from with_lanes(request.param, monkeypatch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 3, 16, 37])
def test_only_what_is_past_a_row_becomes_zero(width, dtype, count):
    lengths = torch.tensor([9, 4, 0, 1, 8, 12])  # the last one is longer than there are steps
    x, y = torch.randn(6, 9, width, dtype=dtype), torch.randn(6, 9, 2, width, dtype=dtype)
    y[0, 8], y[1, 7] = torch.nan, torch.inf
    want = [tree.masked(t, lengths) for t in (x, y)]
    zero_past_lengths([x, y], lengths.to(dtype))
    for got, true in zip((x, y), want, strict=True):
        torch.testing.assert_close(got, true, rtol=0, atol=0, equal_nan=True)


def test_nothing_to_clear():
    zero_past_lengths([torch.empty(0, 3, 2), torch.empty(2, 3, 0)][1:], torch.ones(2))
    zero_past_lengths([], torch.ones(2))
