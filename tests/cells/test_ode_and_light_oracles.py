"""LEM, coRNN, AntisymmetricRNN, Li-GRU and FastGRNN against a plain NumPy float64 loop over the printed equations.

Outputs, final states and gradients (central differences of the loop itself), and the derived kernel against the walk.
"""

import numpy as np
import pytest
import torch

from ostinato import kernels, tree
from ostinato.cells import LEM, Antisymmetric, CoRNN, FastGRNN, LiGRU
from ostinato.testing import LawBroken, check_recurrent

D, H, B, T = 4, 5, 3, 6


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lem(p, x, y, z):
    v, b, w = (np.split(p[name], 4) for name in ("w_in.weight", "w_in.bias", "w_rec"))
    dt = 0.7 * sigmoid(w[0] @ y + v[0] @ x + b[0])
    dt_bar = 0.7 * sigmoid(w[1] @ y + v[1] @ x + b[1])
    z = (1 - dt) * z + dt * np.tanh(w[2] @ y + v[2] @ x + b[2])
    return (1 - dt_bar) * y + dt_bar * np.tanh(w[3] @ z + v[3] @ x + b[3]), z


def cornn(p, x, y, z):
    of_y, of_z = np.split(p["w_rec"], 2, axis=1)
    force = np.tanh(of_y @ y + of_z @ z + p["w_in.weight"] @ x + p["w_in.bias"])
    z = z + 0.4 * force - 0.4 * 1.3 * y - 0.4 * 0.6 * z
    return y + 0.4 * z, z


def antisymmetric(p, x, h):
    a = p["w_rec"] - p["w_rec"].T - 0.3 * np.eye(H)
    return (h + 0.8 * np.tanh(a @ h + p["w_in.weight"] @ x + p["w_in.bias"]),)


def antisymmetric_gated(p, x, h):
    a = p["w_rec"] - p["w_rec"].T - 0.3 * np.eye(H)
    z = sigmoid(a @ h + p["w_in_gate.weight"] @ x + p["w_in_gate.bias"])
    return (h + 0.8 * z * np.tanh(a @ h + p["w_in.weight"] @ x + p["w_in.bias"]),)


def ligru(p, x, h):
    w, b, u = (np.split(p[name], 2) for name in ("w_in.weight", "w_in.bias", "w_rec"))
    z = sigmoid(w[0] @ x + b[0] + u[0] @ h)
    return (z * h + (1 - z) * np.maximum(w[1] @ x + b[1] + u[1] @ h, 0),)


def fastgrnn(p, x, h):
    w = p["w_in.weight"] @ p["w_in_low.weight"] if "w_in_low.weight" in p else p["w_in.weight"]
    u = p["w_rec"] @ p["w_rec_low"] if "w_rec_low" in p else p["w_rec"]
    z = sigmoid(w @ x + u @ h + p["b_z"])
    candidate = np.tanh(w @ x + u @ h + p["b_h"])
    return ((sigmoid(p["zeta"]) * (1 - z) + sigmoid(p["nu"])) * candidate + z * h,)


CELLS = {
    "lem": (lambda: LEM(D, H, dt=0.7), lem),
    "cornn": (lambda: CoRNN(D, H, dt=0.4, gamma=1.3, epsilon=0.6), cornn),
    "antisymmetric": (lambda: Antisymmetric(D, H, epsilon=0.8, gamma=0.3), antisymmetric),
    "antisymmetric gated": (lambda: Antisymmetric(D, H, gated=True, epsilon=0.8, gamma=0.3), antisymmetric_gated),
    "ligru": (lambda: LiGRU(D, H), ligru),
    "fastgrnn": (lambda: FastGRNN(D, H), fastgrnn),
    "fastgrnn of low rank": (lambda: FastGRNN(D, H, rank_in=2, rank_rec=3), fastgrnn),
}
NAMES = pytest.mark.parametrize("name", CELLS)


def build(name):
    """A cell, x and a state that is not zero, in float64; parameters are far from each other."""
    torch.manual_seed(0)
    cell = CELLS[name][0]().double()
    x = torch.randn(B, T, D, dtype=torch.float64)
    return cell, x, tree.map(torch.randn_like, cell.initial_state(B))


def loop(step, given, leaves):
    """The oracle: outputs [B, T, H] and the leaves of the last state."""
    out, last = np.zeros((B, T, H)), [np.zeros((B, H)) for _ in range(leaves)]
    for b in range(B):
        s = tuple(given[f"state {i}"][b] for i in range(leaves))
        for t in range(T):
            s = step(given, given["x"][b, t], *s)
            out[b, t] = s[0]
        for i in range(leaves):
            last[i][b] = s[i]
    return out, last


def arrays(cell, x, state):
    """All that a derivative is taken with respect to, by name."""
    leaves = {f"state {i}": leaf for i, leaf in enumerate(tree.leaves(state))}
    return {"x": x, **leaves, **dict(cell.named_parameters())}


@NAMES
def test_outputs_and_state_are_those_of_the_equations(name):
    cell, x, state = build(name)
    y, after = cell(x, state)
    given = {key: t.detach().numpy() for key, t in arrays(cell, x, state).items()}
    out, last = loop(CELLS[name][1], given, len(state))
    assert np.abs(y.detach().numpy() - out).max() < 1e-12
    for got, want in zip(tree.leaves(after), last, strict=True):
        assert np.abs(got.detach().numpy() - want).max() < 1e-12


@NAMES
def test_gradients_are_those_of_the_equations(name):
    cell, x, state = build(name)
    tensors = arrays(cell, x, state)
    for t in tensors.values():
        t.requires_grad_()
    weight = np.sin(np.arange(B * T * H)).reshape(B, T, H)
    y, after = cell(x, state)
    loss = (y * torch.from_numpy(weight)).sum() + sum(leaf.square().sum() for leaf in tree.leaves(after))
    slopes = torch.autograd.grad(loss, list(tensors.values()))
    given = {key: t.detach().numpy().copy() for key, t in tensors.items()}

    def measure():
        out, last = loop(CELLS[name][1], given, len(state))
        return (out * weight).sum() + sum((leaf**2).sum() for leaf in last)

    rng = np.random.default_rng(0)
    for (key, tensor), slope in zip(tensors.items(), slopes, strict=True):
        way, here = rng.normal(size=tensor.shape), given[key]
        ends = []
        for sign in (1, -1):
            given[key] = here + sign * 1e-6 * way
            ends.append(measure())
        given[key] = here
        want = (ends[0] - ends[1]) / 2e-6
        assert (slope.numpy() * way).sum() == pytest.approx(want, rel=1e-6, abs=1e-6), key


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-11), (torch.float32, 2e-5)], ids=str)
@NAMES
def test_the_derived_kernel_is_the_walk(name, dtype, near):
    cell, x, state = build(name)
    cell, x, state = cell.to(dtype), x.to(dtype), tree.map(lambda s: s.to(dtype), state)
    tensors = arrays(cell, x, state)
    for t in tensors.values():
        t.requires_grad_()
    results = []
    for backend in ("numba", "reference"):
        with kernels.backend(backend):
            y, after = cell(x, state, lengths=torch.tensor([6, 0, 4]))
        ends = [y, *tree.leaves(after)]
        weights = [torch.arange(1.0, t.numel() + 1, dtype=dtype).sin().view_as(t) for t in ends]
        results.append((*ends, *torch.autograd.grad(ends, list(tensors.values()), weights)))
    for got, want in zip(*results, strict=True):
        assert (got - want).abs().max() <= near * want.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", ["antisymmetric gated", "fastgrnn of low rank"])
def test_the_laws_hold_for_the_options(name):
    check_recurrent(CELLS[name][0], D)


def test_the_laws_see_a_cell_whose_rows_meet():
    """The check above can fail."""

    def make():
        cell = LiGRU(D, H)
        drive = cell.drive
        cell.drive = lambda x: drive(x - x.mean(0))
        return cell

    with pytest.raises(LawBroken, match="rows are independent"):
        check_recurrent(make, D)


def test_all_instances_share_one_recurrence():
    for make, _ in CELLS.values():
        assert make().recurrence is make().recurrence
    assert LEM(D, H, dt=0.5).recurrence is LEM(D, H).recurrence


def test_an_undamped_antisymmetric_matrix_has_imaginary_eigenvalues():
    a, _ = Antisymmetric(D, H, gamma=0.0).double().weights()
    assert np.abs(np.linalg.eigvals(a.detach().numpy()).real).max() < 1e-12


def test_lem_with_time_steps_of_one_forgets_at_once():
    """Where Δt_n = 1 (a gate's bias of 50 saturates it), the memory is its candidate, whatever it was."""
    cell = LEM(D, H).double()
    with torch.no_grad():
        cell.w_in.bias[: 2 * H] = 50.0
    x, state = torch.randn(B, 1, D, dtype=torch.float64), cell.initial_state(B)
    one, other = cell(x, state), cell(x, state._replace(z=state.z + 3))
    assert (one[0] - other[0]).abs().max() < 1e-12


def test_a_cornn_at_rest_is_a_damped_oscillator():
    """Without force y'' = -γ y - ε y': the energy γ y² + z² falls."""
    cell = CoRNN(D, H, dt=0.01, gamma=4.0, epsilon=0.5).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.zero_()
    state = cell.initial_state(B)._replace(y=torch.ones(B, H, dtype=torch.float64))
    _, (y, z) = cell(torch.zeros(B, 1000, D, dtype=torch.float64), state)
    t, omega = 10.0, np.sqrt(4.0 - 0.25**2)
    want = np.exp(-0.25 * t) * (np.cos(omega * t) + 0.25 / omega * np.sin(omega * t))
    assert y.mean().item() == pytest.approx(want, abs=0.01)  # Euler steps of 0.01
    assert (4 * y**2 + z**2).max() < 0.1


def test_ligru_starts_with_orthogonal_recurrent_weights():
    for block in LiGRU(D, H).w_rec.detach().double().chunk(2):
        assert (block @ block.T - torch.eye(H)).abs().max() < 1e-6


def test_a_low_rank_has_fewer_parameters_and_takes_only_its_width():
    low, full = FastGRNN(40, 50, rank_in=4, rank_rec=5), FastGRNN(40, 50)
    sizes = [sum(p.numel() for p in cell.parameters()) for cell in (low, full)]
    assert sizes == [4 * 90 + 5 * 100 + 102, 40 * 50 + 50 * 50 + 102]
    with pytest.raises(ValueError, match=r"x must be \[B, T, 40\] for this cell"):
        low(torch.ones(2, 3, 39))
