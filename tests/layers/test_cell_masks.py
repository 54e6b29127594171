"""What Zoneout, RecurrentDropout and DropConnect draw, and what they make of a cell.

Oracles: NumPy loops over the printed equations, and cells whose weights make the masks visible.
"""

import numpy as np
import pytest
import torch

from ostinato import tree
from ostinato.cells import GRU, LSTM, MGU, Elman
from ostinato.layers import DropConnect, RecurrentDropout, Zoneout
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell

D, H, B, T = 4, 8, 6, 9


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def example(cell, batch=B, steps=T):
    """x and a state that is not zero, in float64."""
    x = torch.randn(batch, steps, D, dtype=torch.float64)
    return x, tree.map(torch.randn_like, cell.initial_state(batch))


def lstm_step(p, x, h, c):
    """What an LSTM makes of its state: (h̃, c̃)."""
    i, f, g, o = np.split(p["w_in.weight"] @ x + p["w_in.bias"] + p["w_rec"] @ h, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def arrays(cell):
    return {name: p.detach().numpy() for name, p in cell.named_parameters()}


def remembering(width, steps=2):
    """A network that only multiplies its state with the identity: h_t = I h_{t-1}; and its input, which is zero."""
    cell = Elman(1, width, "identity")
    with torch.no_grad():
        for p in cell.parameters():
            p.zero_()
        cell.w_rec.fill_diagonal_(1.0)
    return cell, torch.zeros(1, steps, 1)


# ---------------------------------------------------------------------------------------------------- zoneout


def test_a_unit_keeps_its_old_value_with_chance_p():
    """50 rows, 40 steps, 8 units: 16000 draws a leaf, so a standard deviation below 0.004."""
    torch.manual_seed(0)
    part = Zoneout(LSTM(D, H).double(), (0.2, 0.6))
    x, state = example(part, 50, 40)
    kept = {"h": [], "c": []}
    for step in part.walk(x, state):
        for name, marks in kept.items():
            marks.append(getattr(step.state, name) == getattr(state, name))
        assert torch.equal(step.out, step.state.h)  # the output is the state that has kept
        state = step.state
    for name, p in (("h", 0.2), ("c", 0.6)):
        marks = torch.stack(kept[name], 1).double()  # [B, T, H]
        assert marks.mean().item() == pytest.approx(p, abs=0.02)
        for axis in (0, 1, 2):  # drawn apart along rows, steps and units
            neighbours = (
                marks.narrow(axis, 1, marks.shape[axis] - 1) * marks.narrow(axis, 0, marks.shape[axis] - 1)
            ).mean()
            assert neighbours.item() == pytest.approx(p * p, abs=0.02)
    both = (torch.stack(kept["h"], 1) & torch.stack(kept["c"], 1)).double().mean().item()
    assert both == pytest.approx(0.2 * 0.6, abs=0.02)


def test_a_leaf_with_chance_0_moves_as_without():
    part = Zoneout(LSTM(D, H).double(), (0.5, 0.0))
    x, state = example(part, steps=1)
    _, want = part.cell(x, state)
    _, got = part(x, state)
    assert (got.c - want.c).abs().max() < 1e-12
    assert (got.h - want.h).abs().max() > 0.01


@pytest.mark.parametrize("training", [True, False])
def test_zoneout_mixes_as_the_equations_say(training):
    """h_t = d ⊙ h_{t-1} + (1 - d) ⊙ o ⊙ tanh(c̃_t): h is made from the memory before zoneout (Krueger et al., 3.3)."""
    part = Zoneout(LSTM(D, H).double(), (0.3, 0.5)).train(training)
    x, state = example(part)
    torch.manual_seed(1)
    masks = part.drive(x).kept if training else torch.tensor([0.3, 0.5], dtype=torch.float64)
    of_h, of_c = (m.expand(B, T, H).numpy() for m in masks)
    torch.manual_seed(1)
    y, after = part(x, state)
    p = arrays(part.cell)
    for b in range(B):
        h, c = state.h[b].numpy(), state.c[b].numpy()
        for t in range(T):
            new_h, new_c = lstm_step(p, x[b, t].numpy(), h, c)
            h = of_h[b, t] * h + (1 - of_h[b, t]) * new_h
            c = of_c[b, t] * c + (1 - of_c[b, t]) * new_c
            assert np.abs(y[b, t].detach().numpy() - h).max() < 1e-12
        assert np.abs(after.c[b].detach().numpy() - c).max() < 1e-12


def test_zoneout_of_a_recurrence_without_gates():
    """A running sum whose output is no leaf of its state: s_t = (s_{t-1} + s̃_t) / 2, and the output is as it was."""

    class Sum(Cell):
        recurrence = Recurrence("sum", lambda x, s: (2 * (s + x), s + x), linear=True)

        def initial_state(self, batch):
            return torch.zeros(batch, 1)

        def drive(self, x):
            return x

    part = Zoneout(Sum(), 0.5).eval()
    y, after = part(torch.ones(1, 2, 1))
    assert part.recurrence.linear
    assert y.flatten().tolist() == [2.0, 3.0]
    assert after.item() == 1.0


# ------------------------------------------------------------------------------------------ recurrent dropout


def test_a_unit_is_hidden_from_the_gates_at_all_steps_or_none():
    """h_t = m ⊙ h_{t-1} from ones: h_1 is the mask, h_2 its square. 4000 masks: a standard deviation below 0.008."""
    torch.manual_seed(0)
    cell, x = remembering(80)
    part = RecurrentDropout(cell, 0.3)
    state = type(cell.initial_state(1))(torch.ones(50, 80))
    y, _ = part(x.expand(50, -1, -1), state)
    mask = y[:, 0]
    assert mask.eq(0).double().mean().item() == pytest.approx(0.3, abs=0.03)
    torch.testing.assert_close(mask[mask != 0], torch.full_like(mask[mask != 0], 1 / 0.7))
    torch.testing.assert_close(y[:, 1], mask**2)
    for axis in (0, 1):  # rows and units are drawn apart
        zero = mask.eq(0).double()
        assert (zero.narrow(axis, 1, 49) * zero.narrow(axis, 0, 49)).mean().item() == pytest.approx(0.09, abs=0.03)
    assert not torch.equal(part(x.expand(50, -1, -1), state)[0], y)  # and so are calls


def test_the_update_sees_the_whole_state():
    """MGU: both products and f ⊙ h take the masked state, (1 - f) ⊙ h_{t-1} the whole one."""
    part = RecurrentDropout(MGU(D, H).double(), 0.5)
    x, state = example(part)
    torch.manual_seed(1)
    mask = part.drive(x).masks[0][:, 0].numpy()
    torch.manual_seed(1)
    y, _ = part(x, state)
    w, v, u = (np.split(arrays(part.cell)[name], 2) for name in ("w_in.weight", "w_in.bias", "w_rec"))
    for b in range(B):
        h = state.h[b].numpy()
        for t in range(T):
            x_t, seen = x[b, t].numpy(), mask[b] * h
            f = sigmoid(w[0] @ x_t + v[0] + u[0] @ seen)
            h = (1 - f) * h + f * np.tanh(w[1] @ x_t + v[1] + u[1] @ (f * seen))
            assert np.abs(y[b, t].detach().numpy() - h).max() < 1e-12


def test_recurrent_dropout_leaves_the_memory_of_an_lstm_alone_unless_told():
    assert RecurrentDropout(LSTM(D, H), 0.5).p == (0.5, 0.0)
    assert RecurrentDropout(LSTM(D, H), (0.1, 0.2)).p == (0.1, 0.2)


# ------------------------------------------------------------------------------------------------- dropconnect


def test_an_element_of_the_matrix_is_dropped_in_all_rows_and_steps_or_none():
    """From unit vectors h_1 is the dropped matrix, h_2 its square. 3600 draws: a standard deviation below 0.008."""
    torch.manual_seed(0)
    cell, x = remembering(60)
    with torch.no_grad():
        cell.w_rec.copy_(torch.randn(60, 60))
    part, kept = DropConnect(cell, 0.4), cell.w_rec.detach().clone()
    y, _ = part(x.expand(60, -1, -1), type(cell.initial_state(1))(torch.eye(60)))
    matrix = y[:, 0].T
    dropped = matrix == 0
    assert dropped.double().mean().item() == pytest.approx(0.4, abs=0.04)
    torch.testing.assert_close(matrix[~dropped], kept[~dropped] / 0.6)
    torch.testing.assert_close(y[:, 1].T, matrix @ matrix)
    assert torch.equal(cell.w_rec, kept)
    y[:, 0].sum().backward()
    slope = cell.w_rec.grad
    assert slope is not None
    assert torch.equal(slope == 0, dropped)


def test_vectors_and_the_input_stay_whole():
    cell = GRU(D, H)
    part = DropConnect(cell, 0.9)
    matrix, vector = part.weights()
    assert (matrix == 0).any()
    assert torch.equal(vector, cell.b_n)
    x = torch.randn(B, T, D)
    want = cell.drive(x)
    assert part.drive(x).weight is want.weight
    assert torch.equal(part.drive(x).value(), want.value())
