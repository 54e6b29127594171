"""Trees of tensors."""

import pytest
import torch

from ostinato import tree


def test_rows_in_another_order_and_gradients_back_in_the_first():
    """Oracle: `index_select` and its gradient."""
    torch.manual_seed(0)
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    rows = torch.randperm(7)
    assert torch.equal(tree.permuted(x, rows), x.index_select(0, rows))
    assert torch.equal(tree.permuted(tree.permuted(x, rows), rows.argsort(), rows), x)
    assert torch.autograd.gradcheck(lambda x: tree.permuted(x, rows), x)
    assert torch.autograd.gradgradcheck(lambda x: tree.permuted(x, rows).square(), x)
    by_row = torch.func.vmap(lambda x: tree.permuted(x, rows))(torch.stack([x, 2 * x]))
    assert torch.equal(by_row[1], 2 * x[rows])


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2)])
def test_masked_rows_hold_zeros_past_their_length_whatever_stood_there(shape):
    x = torch.full(shape, torch.nan)
    x[0] = x[1, :2] = 1.0
    got = tree.masked(x, torch.tensor([4, 2, 0]))
    assert torch.equal(got, torch.nan_to_num(x)) and tree.masked(x, None) is x
