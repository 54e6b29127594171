"""last: many-to-one."""

import torch

from ostinato.layers import last


def test_last_is_the_last_valid_step():
    y = torch.arange(24.0).view(3, 4, 2) + 1
    got = last(y, torch.tensor([4, 2, 0]))
    assert got.tolist() == [[7, 8], [11, 12], [0, 0]]


def test_last_without_lengths_is_the_end():
    y = torch.randn(3, 4, 2)
    assert torch.equal(last(y), y[:, 3])
