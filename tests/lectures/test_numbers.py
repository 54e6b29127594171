"""The lectures' numbers, right ones; where a lecture prints another, that is shown to be wrong."""

import doctest
from pathlib import Path

import pytest
import torch
from torch import nn

from ostinato.cells import GRU, LSTM, Elman, GRUResetBefore, activations


def test_worked_example_of_s0():
    failed, tried = doctest.testfile(str(Path(__file__).with_name("worked_example.md")), module_relative=False)
    assert tried > 10
    assert failed == 0


def test_a_hundred_steps_vanish_or_explode_as_s3_says():
    """0.9^100 = 2.656e-5 and 1.1^100 = 13780.61, as the gradient of a linear recurrence with one unit."""
    for weight, want in ((0.9, 2.65614e-5), (1.1, 13780.6123)):
        cell = Elman(1, 1, "identity").double()
        nn.init.constant_(cell.w_rec, weight)
        state = cell.initial_state(1)
        h0 = state.h.requires_grad_()
        y, _ = cell(torch.zeros(1, 100, 1, dtype=torch.float64), type(state)(h0))
        y[:, -1].sum().backward()
        assert h0.grad.item() == pytest.approx(want, rel=1e-5)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_for_four_inputs_and_three_hidden_units():
    """3x4 + 3x3 + 3 per gate: one, three and four gates; torch doubles the bias, and its GRU form needs one more."""
    assert count(Elman(4, 3)) == 24
    assert count(GRUResetBefore(4, 3)) == 72
    assert count(GRU(4, 3)) == 75
    assert count(LSTM(4, 3)) == 96
    assert count(nn.LSTM(4, 3)) == 108


def test_the_two_gru_forms_differ_with_the_same_weights():
    """Reset before or after the product: not the same network (lecture S1 section 4.4 against torch)."""
    torch.manual_seed(0)
    printed, ours = GRUResetBefore(4, 3).double(), GRU(4, 3).double()
    with torch.no_grad():
        ours.b_n.zero_()
        for mine, theirs in ((ours.w_in.weight, printed.w_in.weight), (ours.w_in.bias, printed.w_in.bias),
                             (ours.w_rec, printed.w_rec)):  # fmt: skip
            z, r, n = theirs.chunk(3)
            mine.copy_(torch.cat([r, -z, n]))  # torch's order and torch's sense of z
    x = torch.randn(2, 9, 4, dtype=torch.float64) * 3
    assert torch.allclose(printed(x[:, :1])[0], ours(x[:, :1])[0])  # from h = 0 there is nothing to reset
    assert (printed(x)[0] - ours(x)[0]).abs().max() > 0.01


def test_largest_derivatives_of_the_activations_of_s4():
    z = torch.linspace(-6, 6, 120_001, dtype=torch.float64, requires_grad=True)
    steepest = {}
    for name, f in activations.items():
        (slope,) = torch.autograd.grad(f(z).sum(), z)
        steepest[name] = round(slope.max().item(), 4)
    assert steepest == {
        "tanh": 1.0,
        "sigmoid": 0.25,
        "relu": 1.0,
        "leaky_relu": 1.0,
        "silu": 1.0998,
        "gelu": 1.1289,
        "identity": 1.0,
    }


def test_relu_units_that_are_never_on_have_no_gradient():
    """Lecture S4 section 5.3: a dead unit stays dead."""
    cell = Elman(2, 3, "relu").double()
    with torch.no_grad():
        cell.w_in.bias.copy_(torch.tensor([-100.0, 0.5, 0.5]))
    cell(torch.randn(4, 6, 2, dtype=torch.float64))[0].sum().backward()
    assert cell.w_in.weight.grad[0].eq(0).all()
    assert cell.w_in.weight.grad[1:].abs().max() > 0


def test_a_tanh_network_with_a_large_recurrent_matrix_stays_bounded():
    """Lecture S3 2.3.2 says that |λ| > 1 may diverge; tanh cannot: ρ = 2 stays below 1 for 500 steps."""
    cell = Elman(2, 8).double()
    with torch.no_grad():
        cell.w_rec.copy_(2 * torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0])
    y, _ = cell(torch.randn(1, 500, 2, dtype=torch.float64) * 0.1)
    assert y.abs().max() < 1


def test_spectral_radius_alone_does_not_bound_the_power_of_a_matrix():
    """ρ = 0.9 and yet ‖W^k‖ grows to 19.4 before it decays: W is not normal."""
    w = torch.tensor([[0.9, 5.0], [0.0, 0.9]], dtype=torch.float64)
    norms = [torch.linalg.matrix_norm(torch.linalg.matrix_power(w, k), 2).item() for k in range(1, 200)]
    assert max(norms) == pytest.approx(19.4, abs=0.05)
    assert norms.index(max(norms)) in (8, 9)
    assert norms[-1] < 1e-3


def test_the_printed_weight_gradient_of_s1_lacks_the_derivative_of_tanh():
    """Lecture S1 3.2: with δ = ∂E/∂h the gradient δ xᵀ is not dE/dW; tanh'(z) is missing."""
    cell = Elman(2, 3).double()
    x = torch.randn(1, 1, 2, dtype=torch.float64)
    y, _ = cell(x)
    y.retain_grad()
    y.square().sum().backward()
    delta, h = y.grad[0, 0], y.detach()[0, 0]
    printed = torch.outer(delta, x[0, 0])
    right = torch.outer(delta * (1 - h**2), x[0, 0])
    assert torch.allclose(cell.w_in.weight.grad, right)
    assert not torch.allclose(cell.w_in.weight.grad, printed)
