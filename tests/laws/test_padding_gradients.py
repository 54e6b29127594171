"""Padding changes no gradient, even NaN in it. Oracle: each row alone, without padding, by the reference loop."""

import pytest
import torch

from ostinato import kernels, tree
from ostinato.cells import GRU, LSTM, MGU, RAN, Elman, LayerNormGRU, PeepholeLSTM

LENGTHS = (6, 3, 0)
WITHIN = (torch.arange(6) < torch.tensor(LENGTHS)[:, None])[..., None]  # [3, 6, 1]
CELLS = {"reference": (LSTM, GRU, Elman, MGU, PeepholeLSTM, LayerNormGRU), "aten": (LSTM, GRU, Elman)}
CELLS["numba"] = (LSTM, GRU, MGU, RAN, LayerNormGRU)


def slopes(cell, x, state, cot, lengths=None):
    """Gradients of x, state and weights through the recurrence's own scan: `forward` would clear the padding before."""
    leaves = [leaf.clone().requires_grad_() for leaf in (x, *state)]
    out, _ = cell.recurrence.scan(cell.drive(leaves[0]), tree.like(state, leaves[1:]), *cell.weights(), lengths=lengths)
    wanted = [*leaves, *cell.parameters()]
    return torch.autograd.grad(out, wanted, cot, materialize_grads=True)


@pytest.mark.parametrize("padded", ["x", "cotangent", "both"])
@pytest.mark.parametrize("backend, cell_class", [(b, c) for b, cells in CELLS.items() for c in cells])
def test_nan_in_the_padding_reaches_no_gradient(backend, cell_class, padded):
    torch.manual_seed(0)
    cell = cell_class(4, 5).double()
    x, cot = torch.randn(3, 6, 4).double(), torch.randn(3, 6, 5).double()
    state = tree.map(torch.randn_like, cell.initial_state(3))
    want = [torch.zeros_like(t) for t in (x, *state, *cell.parameters())]
    with kernels.backend("reference"):
        for row, n in enumerate(LENGTHS[:2]):
            here = slice(row, row + 1)
            own = [want[0][here, :n], *(slope[here] for slope in want[1 : 1 + len(state)]), *want[1 + len(state) :]]
            alone = slopes(cell, x[here, :n], tree.select(state, torch.tensor([row])), cot[here, :n])
            for total, slope in zip(own, alone, strict=True):
                total += slope
    nan = torch.tensor(float("nan")).double()
    x = x if padded == "cotangent" else torch.where(WITHIN, x, nan)
    cot = cot if padded == "x" else torch.where(WITHIN, cot, nan)
    with kernels.backend(backend):
        got = slopes(cell, x, state, cot, torch.tensor(LENGTHS))
    for g, w in zip(got, want, strict=True):
        assert (g - w).abs().max() <= 1e-12  # NaN is not
