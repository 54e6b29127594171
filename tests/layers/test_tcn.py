"""Temporal convolution. Oracles: the sum that defines a dilated convolution, in numpy loops; the laws of a Layer."""

import numpy as np
import pytest
import torch

from ostinato import testing
from ostinato.layers import TCN, Stack

LAWS = [law for law in testing.LAWS if law not in testing.STREAMING]


def convolved(x, convolution, dilation, causal):
    """x [T, D] -> [T, D'], tap by tap."""
    w, b = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
    size = w.shape[-1]
    y = np.zeros((len(x), len(b)))
    for t in range(len(x)):
        y[t] = b
        for k in range(size):
            s = t + (k - (size - 1 if causal else size // 2)) * dilation
            if 0 <= s < len(x):
                y[t] += w[:, :, k] @ x[s]
    return y


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("normalised", [True, False])
def test_it_computes_the_blocks_of_its_paper(causal, normalised):
    part = TCN(4, [6, 6, 5], size=3, causal=causal, normalised=normalised).double()
    x = torch.randn(1, 9, 4, dtype=torch.float64)
    want = x[0].numpy()
    for i, block in enumerate(part.blocks):
        y = want
        for convolution in (block.first, block.second):
            y = np.maximum(convolved(y, convolution, 2**i, causal), 0)
        want = np.maximum(block.match(torch.as_tensor(want)).detach().numpy() + y, 0)
    np.testing.assert_allclose(part(x)[0][0].detach().numpy(), want, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, causal):
    law(testing.case(lambda: TCN(5, [6, 4], dropout=0.2, causal=causal), 5))


@pytest.mark.parametrize("causal", [True, False])
def test_an_output_sees_as_far_as_is_told(causal):
    """1 + 2 (k - 1)(2^L - 1) = 13 steps of two blocks with three taps: behind it, or six on both sides."""
    part, x = TCN(2, [8, 8], size=3, causal=causal).double(), torch.randn(1, 40, 2, dtype=torch.float64)
    x.requires_grad_()
    (grad,) = torch.autograd.grad(part(x)[0][0, 20].sum(), x)
    reached = grad[0].abs().sum(-1).nonzero().flatten().tolist()
    assert min(reached) >= (8 if causal else 14)
    assert max(reached) <= (20 if causal else 26)


def test_what_it_cannot_do_is_told():
    part, x = TCN(5, [6]), torch.randn(2, 7, 5)
    with pytest.raises(TypeError, match="TCN reads the whole sequence, so it cannot stream"):
        Stack(part).step(x[:, 0], ((),))
    with pytest.raises(ValueError, match="its size is odd, and is 4"):
        TCN(5, [6], size=4, causal=False)
    with pytest.raises(ValueError, match="at least one block"):
        TCN(5, [])
