"""Variants of LSTM and GRU against plain NumPy float64 loops over the papers' equations: values and gradients.

The gradients' oracle is the central differences of those loops; the backend numba is held to the walk.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ostinato import kernels, tree
from ostinato.cells import JANET, RAN, IndRNN, LayerNormGRU, LayerNormLSTM, PeepholeLSTM, ProjectedLSTM
from ostinato.recurrent import Cell

Array = NDArray[np.float64]
Weights = dict[str, Array]


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def layer_norm(z: Array, gain: Array, shift: Any = 0.0) -> Array:
    return (z - z.mean()) / np.sqrt(((z - z.mean()) ** 2).mean() + 1e-5) * gain + shift


def affine(w: Weights, x: Array, parts: int) -> list[Array]:
    return np.split(w["w_in.weight"] @ x + w["w_in.bias"], parts)


def layernorm_lstm(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    recurrent = layer_norm(w["w_rec"] @ h, w["gain_rec"])
    i, f, g, o = np.split(recurrent + layer_norm(w["w_in.weight"] @ x, w["gain_in"]) + w["w_in.bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(layer_norm(c, w["gain_c"], w["shift_c"]))
    return h, h, c


def layernorm_gru(w: Weights, x: Array, h: Array) -> tuple[Array, ...]:
    n = len(h)
    zr_in, n_in = np.split(w["w_in.weight"] @ x, [2 * n])
    zr_rec, n_rec = np.split(w["w_rec"] @ h, [2 * n])
    zr = layer_norm(zr_rec, w["gain_rec"][: 2 * n]) + layer_norm(zr_in, w["gain_in"][: 2 * n], w["w_in.bias"][: 2 * n])
    z, r = np.split(sigmoid(zr), 2)
    inner = layer_norm(n_rec, w["gain_rec"][2 * n :], w["b_n"])
    candidate = np.tanh(layer_norm(n_in, w["gain_in"][2 * n :], w["w_in.bias"][2 * n :]) + r * inner)
    h = (1 - z) * h + z * candidate
    return h, h


def peephole_lstm(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    (i, f, g, o), (u_i, u_f, u_g, u_o) = affine(w, x, 4), np.split(w["w_rec"], 4)
    p_i, p_f, p_o = (np.diag(p) for p in np.split(w["peepholes"], 3))
    i, f = sigmoid(i + u_i @ h + p_i @ c), sigmoid(f + u_f @ h + p_f @ c)
    c = f * c + i * np.tanh(g + u_g @ h)
    h = sigmoid(o + u_o @ h + p_o @ c) * np.tanh(c)
    return h, h, c


def projected_lstm(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    i, f, g, o = (a + u @ h for a, u in zip(affine(w, x, 4), np.split(w["w_rec"], 4), strict=True))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = w["w_proj"] @ (sigmoid(o) * np.tanh(c))
    return h, h, c


def indrnn(f: Callable[[Array], Array]) -> Callable[..., tuple[Array, ...]]:
    return lambda w, x, h: 2 * (f(affine(w, x, 1)[0] + w["w_rec"] * h),)


def ran(g: Callable[[Array], Array]) -> Callable[..., tuple[Array, ...]]:
    def step(w: Weights, x: Array, c: Array) -> tuple[Array, ...]:
        i, f = (sigmoid(a + u @ g(c)) for a, u in zip(affine(w, x, 2), np.split(w["w_rec"], 2), strict=True))
        c = i * (w["w_in_content.weight"] @ x) + f * c
        return g(c), c

    return step


def janet(beta: float) -> Callable[..., tuple[Array, ...]]:
    def step(w: Weights, x: Array, h: Array) -> tuple[Array, ...]:
        s, g = (a + u @ h for a, u in zip(affine(w, x, 2), np.split(w["w_rec"], 2), strict=True))
        h = sigmoid(s) * h + (1 - sigmoid(s - beta)) * np.tanh(g)
        return h, h

    return step


class Pair(NamedTuple):
    make: Callable[[int, int], Cell[Any]]
    step: Callable[..., tuple[Array, ...]]  # (weights by name, x, *state) -> (y, *state)


def relu(z: Array) -> Array:
    return np.maximum(z, 0)


# After a space: an option of the same cell.
PAIRS = {
    "layernorm_lstm": Pair(LayerNormLSTM, layernorm_lstm),
    "layernorm_gru": Pair(LayerNormGRU, layernorm_gru),
    "peephole_lstm": Pair(PeepholeLSTM, peephole_lstm),
    "projected_lstm": Pair(lambda d, h: ProjectedLSTM(d, h, d_proj=h - 1), projected_lstm),
    "indrnn": Pair(IndRNN, indrnn(relu)),
    "indrnn tanh": Pair(lambda d, h: IndRNN(d, h, "tanh"), indrnn(np.tanh)),
    "ran": Pair(RAN, ran(np.tanh)),
    "ran identity": Pair(lambda d, h: RAN(d, h, "identity"), ran(lambda c: c)),
    "janet": Pair(JANET, janet(1.0)),
    "janet beta": Pair(lambda d, h: JANET(d, h, beta=-0.25), janet(-0.25)),
}


def weighted(y: Any, *state: Any) -> Any:
    """One number of all results; the same for tensors and arrays."""
    total = 0.0
    for t in (y, *state):
        line = np.linspace(0.5, 1.5, int(np.prod(t.shape))).reshape(tuple(t.shape))
        total = total + (t * (torch.from_numpy(line) if isinstance(t, Tensor) else line)).sum()
    return total


def scan(step: Callable[..., tuple[Array, ...]], given: Weights, leaves: int) -> tuple[Array, ...]:
    """The oracle: (y [B, T, ...], *the state after). `given`: the weights, "x" and the state's leaves "0", "1"."""
    rows = []
    for b, row in enumerate(given["x"]):
        state, ys = [given[str(n)][b] for n in range(leaves)], []
        for x in row:
            y, *state = step(given, x, *state)
            ys.append(y)
        rows.append((np.stack(ys), *state))
    return tuple(np.stack(part) for part in zip(*rows, strict=True))


def differences(f: Callable[[], float], a: Array, by: float = 1e-5) -> Array:
    """The central differences of f by each number of an array, which is changed in place."""
    slopes = np.empty_like(a)
    for at in np.ndindex(a.shape):
        ends, here = [], a[at]
        for sign in (1, -1):
            a[at] = here + sign * by
            ends.append(f())
        a[at], slopes[at] = here, (ends[0] - ends[1]) / (2 * by)
    return slopes


def ready(make: Callable[[int, int], Cell[Any]], d_in: int, d_hidden: int, seed: int = 0) -> Cell[Any]:
    """A cell none of whose weights is a neutral 0 or 1."""
    torch.manual_seed(seed)
    cell = make(d_in, d_hidden).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.add_(torch.empty_like(p).uniform_(-0.4, 0.4))
    return cell


@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_are_the_papers(name: str) -> None:
    cell = ready(PAIRS[name].make, 2, 3)
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    state = tree.map(lambda s: torch.randn_like(s).requires_grad_(), cell.initial_state(2))
    y, after = cell(x, state)
    leaves = tree.leaves(state)
    variables = {**dict(cell.named_parameters()), "x": x, **{str(n): s for n, s in enumerate(leaves)}}
    given = {key: v.detach().clone().numpy() for key, v in variables.items()}
    for got, want in zip((y, *tree.leaves(after)), scan(PAIRS[name].step, given, len(leaves)), strict=True):
        assert np.abs(got.detach().numpy() - want).max() < 1e-12
    slopes = torch.autograd.grad(weighted(y, *tree.leaves(after)), list(variables.values()))
    for (key, slope), a in zip(zip(variables, slopes, strict=True), given.values(), strict=True):
        want = differences(lambda: weighted(*scan(PAIRS[name].step, given, len(leaves))), a)
        assert np.abs(slope.numpy() - want).max() < 1e-7, key


def results(cell: Cell[Any], x: Tensor, backend: str) -> list[Tensor]:
    """Outputs, final state, and the gradients of x and all parameters."""
    x = x.clone().requires_grad_()
    with kernels.backend(backend):
        y, state = cell(x, lengths=torch.tensor([9, 4, 0]))
    ends = (y, *tree.leaves(state))
    return [*ends, *torch.autograd.grad(weighted(*ends), [x, *cell.parameters()])]


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 2e-5), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("name", [name for name in PAIRS if " " not in name])
def test_the_derived_kernel_equals_the_walk(name: str, dtype: torch.dtype, near: float) -> None:
    cell = ready(PAIRS[name].make, 5, 6).to(dtype)
    x = torch.randn(3, 9, 5, dtype=dtype)
    for got, want in zip(results(cell, x, "numba"), results(cell, x, "reference"), strict=True):
        assert (got - want).abs().max() <= near * want.abs().max().clamp(min=1)


@pytest.mark.parametrize("make", [LayerNormLSTM, LayerNormGRU])
def test_the_scale_of_the_matrices_does_not_matter(make: Any) -> None:
    """Ba et al. section 5.1. Large to begin with, so that ε is nothing beside the variance."""
    cell: Any = ready(make, 4, 6)
    x, outs = torch.randn(2, 5, 4, dtype=torch.float64), []
    for _ in range(2):
        with torch.no_grad():
            cell.w_in.weight.mul_(1e4)
            cell.w_rec.mul_(1e4)
        outs.append(cell(x)[0])
    assert (outs[1] - outs[0]).abs().max() < 1e-8
