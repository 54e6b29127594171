"""Cells that torch.nn does not have, against a plain NumPy float64 loop over the printed equations."""

import math

import numpy as np
import pytest
import torch

from ostinato.cells import MGU, Elman, GRUResetBefore, Jordan, activations
from ostinato.registry import UnknownNameError

ERF = np.vectorize(math.erf)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


FUNCTIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": sigmoid,
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "silu": lambda z: z * sigmoid(z),
    "gelu": lambda z: z * (1 + ERF(z / np.sqrt(2))) / 2,
    "identity": lambda z: z,
}


def numpy_of(*tensors):
    return [t.detach().numpy() for t in tensors]


def run(cell, step, width, seed=0):
    """Our cell's outputs and the oracle's: `step(x, s)` gives the next state, which is the output too."""
    torch.manual_seed(seed)
    x, state = torch.randn(3, 8, 4, dtype=torch.float64), torch.randn(3, width, dtype=torch.float64)
    y, after = cell(x, type(cell.initial_state(1))(state))
    want = np.zeros((3, 8, width))
    for b in range(3):
        s = state[b].numpy()
        for t in range(8):
            s = want[b, t] = step(x[b, t].numpy(), s)
    return y.detach().numpy(), after[0].detach().numpy(), want


@pytest.mark.parametrize("name", activations)
def test_elman_with_each_activation(name):
    cell = Elman(4, 5, name).double()
    u, b, w = numpy_of(cell.w_in.weight, cell.w_in.bias, cell.w_rec)
    y, after, want = run(cell, lambda x, h: FUNCTIONS[name](u @ x + b + w @ h), 5)
    assert np.abs(y - want).max() < 1e-12
    assert np.abs(after - want[:, -1]).max() < 1e-12


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_jordan_feeds_its_output_back(name):
    cell = Jordan(4, 5, d_out=2, activation=name).double()
    u, b, w, v, c = numpy_of(cell.w_in.weight, cell.w_in.bias, cell.w_rec, cell.w_out.weight, cell.w_out.bias)
    y, after, want = run(cell, lambda x, y: v @ FUNCTIONS[name](u @ x + b + w @ y) + c, 2)
    assert y.shape == (3, 8, 2)
    assert np.abs(y - want).max() < 1e-12
    assert np.abs(after - want[:, -1]).max() < 1e-12


def test_gru_as_the_lecture_prints_it():
    cell = GRUResetBefore(4, 5).double()
    w, b, u = (np.split(a, 3) for a in numpy_of(cell.w_in.weight, cell.w_in.bias, cell.w_rec))

    def step(x, h):
        z = sigmoid(w[0] @ x + b[0] + u[0] @ h)
        r = sigmoid(w[1] @ x + b[1] + u[1] @ h)
        candidate = np.tanh(w[2] @ x + b[2] + u[2] @ (r * h))
        return (1 - z) * h + z * candidate

    y, _, want = run(cell, step, 5)
    assert np.abs(y - want).max() < 1e-12


def test_other_gate_sense_gives_weights_for_z_that_keeps():
    cell = GRUResetBefore(4, 5).double()
    torch.manual_seed(1)
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    before = cell(x)[0]
    cell.other_gate_sense()
    w, b, u = (np.split(a, 3) for a in numpy_of(cell.w_in.weight, cell.w_in.bias, cell.w_rec))
    h = np.zeros((2, 5))
    for t in range(6):
        x_t = x[:, t].numpy()
        z = sigmoid(x_t @ w[0].T + b[0] + h @ u[0].T)
        r = sigmoid(x_t @ w[1].T + b[1] + h @ u[1].T)
        h = z * h + (1 - z) * np.tanh(x_t @ w[2].T + b[2] + (r * h) @ u[2].T)  # the other sense
        assert np.abs(before[:, t].detach().numpy() - h).max() < 1e-12
    assert (cell(x)[0] - before).abs().max() > 0.01
    cell.other_gate_sense()
    assert torch.equal(cell(x)[0], before)


def test_mgu():
    cell = MGU(4, 5).double()
    w, b, u = (np.split(a, 2) for a in numpy_of(cell.w_in.weight, cell.w_in.bias, cell.w_rec))

    def step(x, h):
        f = sigmoid(w[0] @ x + b[0] + u[0] @ h)
        return (1 - f) * h + f * np.tanh(w[1] @ x + b[1] + u[1] @ (f * h))

    y, _, want = run(cell, step, 5)
    assert np.abs(y - want).max() < 1e-12


def test_teacher_forcing_with_its_own_outputs_is_running_free():
    cell = Jordan(4, 5, d_out=2).double()
    x, start = torch.randn(3, 8, 4, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    lengths = torch.tensor([8, 3, 0])
    state = type(cell.initial_state(1))(start)
    free, after = cell(x, state, lengths)
    taught, left = cell.teach(x, free, state, lengths)
    assert (taught - free).abs().max() < 1e-12
    assert torch.equal(left.y, after.y)


def test_teacher_forcing_feeds_the_targets():
    cell = Jordan(4, 5, d_out=2).double()
    x, targets = torch.randn(3, 8, 4, dtype=torch.float64), torch.randn(3, 8, 2, dtype=torch.float64)
    taught, _ = cell.teach(x, targets)
    for t in range(1, 8):
        want, _ = cell.step(x[:, t], type(cell.initial_state(1))(targets[:, t - 1]))
        assert (taught[:, t] - want).abs().max() < 1e-12


def test_one_matrix_for_the_concatenated_input_is_the_same_network():
    cell = Elman(4, 5).double()
    x, h = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    want = torch.tanh(torch.cat([h, x], dim=1) @ cell.concatenated().T + cell.w_in.bias)
    y, _ = cell.step(x, type(cell.initial_state(1))(h))
    assert (y - want).abs().max() < 1e-12
    other = Elman(4, 5).double()
    other.set_concatenated(cell.concatenated(), cell.w_in.bias)
    assert torch.equal(other.step(x, type(cell.initial_state(1))(h))[0], y)
    with pytest.raises(ValueError, match=r"\[5, 9\] and is \[5, 8\]"):
        other.set_concatenated(torch.zeros(5, 8), torch.zeros(5))


@pytest.mark.parametrize("make", [Elman, lambda d, h, activation: Jordan(d, h, activation=activation)])
def test_an_unknown_activation_says_which_are_near(make):
    with pytest.raises(UnknownNameError, match="no activation is called 'tan'; did you mean tanh"):
        make(4, 5, activation="tan")
