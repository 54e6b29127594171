"""Zoneout, RecurrentDropout and DropConnect: they keep the laws, kernels take them, and they go where a cell goes.

Oracles: the cell inside, the laws, and the reference walk. What is drawn is tested in test_cell_masks.py.
"""

import pytest
import torch
from torch import nn

from ostinato import kernels, tree
from ostinato.cells import GRU, LSTM, MGU
from ostinato.cells.lstm import LSTMState
from ostinato.kernels import dispatch
from ostinato.layers import Bidirectional, DropConnect, LearnedState, RecurrentDropout, Stack, Zoneout
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell
from ostinato.testing import LAWS, case

D, H, B, T = 4, 8, 6, 9
WRAPPERS = [Zoneout, RecurrentDropout, DropConnect]
EACH = pytest.mark.parametrize("wrap", WRAPPERS, ids=lambda wrap: wrap.__name__)


def example(cell):
    """x and a state that is not zero, in float64."""
    x = torch.randn(B, T, D, dtype=torch.float64)
    return x, tree.map(torch.randn_like, cell.initial_state(B))


@EACH
def test_without_dropping_it_is_the_cell(wrap):
    torch.manual_seed(0)
    cell = LSTM(D, H).double()
    part = wrap(cell, 0.0).train()
    x, state = example(cell)
    for got, want in zip(tree.leaves(part(x, state)), tree.leaves(cell(x, state)), strict=True):
        assert torch.equal(got, want)
    assert part.recurrence is cell.recurrence


@pytest.mark.parametrize("wrap", [RecurrentDropout, DropConnect], ids=lambda wrap: wrap.__name__)
def test_nothing_is_dropped_in_evaluation_mode(wrap):
    cell = LSTM(D, H).double()
    x, state = example(cell)
    part = wrap(cell, 0.5)
    assert not torch.equal(part(x, state)[0], cell(x, state)[0])
    for got, want in zip(tree.leaves(part.eval()(x, state)), tree.leaves(cell(x, state)), strict=True):
        assert torch.equal(got, want)


def built(wrap, cell):
    return wrap(cell, 0.4)


def nested():
    return Zoneout(DropConnect(RecurrentDropout(LSTM(D, H), 0.3), 0.2), 0.1)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(
    "make",
    [*(lambda wrap=wrap: wrap(LSTM(D, H), 0.4) for wrap in WRAPPERS), nested],
    ids=["Zoneout", "RecurrentDropout", "DropConnect", "nested"],
)
def test_law_in_evaluation_mode(make, law):
    law(case(make, D))


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-11), (torch.float32, 2e-5)], ids=str)
@EACH
def test_training_runs_on_the_derived_kernel(wrap, dtype, near):
    """The same draws through kernel and walk: outputs, states, gradients, with lengths and resets."""
    torch.manual_seed(0)
    part = wrap(LSTM(D, H), 0.4).to(dtype)
    x, state = (tree.map(lambda t: t.to(dtype), given) for given in example(part))
    resets = torch.rand(B, T) < 0.2
    tensors = [x, *tree.leaves(state), *part.parameters()]
    for t in tensors:
        t.requires_grad_()
    results = []
    for backend in ("numba", "reference"):
        torch.manual_seed(7)
        with kernels.backend(backend):
            y, after = part(x, state, torch.tensor([9, 3, 0, 7, 9, 1]), resets)
        ends = [y, *tree.leaves(after)]
        weights = [torch.arange(1.0, t.numel() + 1, dtype=dtype).sin().view_as(t) for t in ends]
        results.append((*ends, *torch.autograd.grad(ends, tensors, weights)))
    for got, want in zip(*results, strict=True):
        assert (got - want).abs().max() <= near * want.abs().max().clamp(min=1)


@pytest.mark.parametrize("training", [True, False])
@EACH
def test_explain_chooses_the_derived_kernel(wrap, training, monkeypatch):
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))
    part = wrap(MGU(D, H), 0.4).train(training)
    assert part.explain(torch.zeros(B, T, D)).startswith("numba: chosen")


@EACH
def test_instances_share_one_recurrence(wrap):
    """A kernel is kept under the functions of its recurrence: new ones would be compiled again."""
    assert built(wrap, LSTM(3, 5)).recurrence is built(wrap, LSTM(D, H)).recurrence
    assert built(wrap, LSTM(3, 5)).recurrence is not built(wrap, GRU(D, H)).recurrence


@EACH
def test_it_goes_wherever_a_cell_goes(wrap):
    part = Stack(LearnedState(built(wrap, LSTM(D, H))), Bidirectional(built(wrap, GRU(H, H)), built(wrap, MGU(H, H))))
    y, _ = part(torch.randn(B, T, D), lengths=torch.tensor([9, 3, 0, 7, 9, 1]))
    assert y.shape == (B, T, 2 * H)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


@EACH
def test_it_streams_while_training(wrap):
    part = built(wrap, LSTM(D, H))
    state = part.initial_state(B)
    for _ in range(3):
        y, state = part.step(torch.randn(B, D), state)
        assert y.shape == (B, H)
    assert isinstance(state, LSTMState)


@pytest.mark.parametrize("p", [-0.1, 1.0, 50, True, float("nan")])
@EACH
def test_p_is_a_chance(wrap, p):
    with pytest.raises(ValueError, match="p is the chance to drop, from 0 up to but not including 1, and is"):
        wrap(LSTM(D, H), p)


@pytest.mark.parametrize("wrap", [Zoneout, RecurrentDropout])
def test_there_is_one_chance_for_each_leaf(wrap):
    with pytest.raises(ValueError, match="one for each of the 2 leaves of the state of LSTM, and holds 3"):
        wrap(LSTM(D, H), (0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match=r"not including 1, and is 1\.5"):
        wrap(LSTM(D, H), (0.1, 1.5))


@EACH
def test_it_goes_around_a_cell(wrap):
    with pytest.raises(TypeError, match=f"{wrap.__name__} goes around a Cell, and got Stack; put it around the cells"):
        wrap(Stack(LSTM(D, H)), 0.1)
    with pytest.raises(TypeError, match="and got Linear"):
        wrap(nn.Linear(D, H), 0.1)


class Counter(Cell):
    """Counts its steps; no gate sees the count."""

    recurrence = Recurrence("counter", lambda x, s: (x + s, s + 1))

    def initial_state(self, batch):
        return torch.zeros(batch, 1, dtype=torch.int64)

    def drive(self, x):
        return x


def test_what_cannot_be_dropped_is_told():
    with pytest.raises(ValueError, match=r"the gates of Counter do not see its state, .* try Zoneout"):
        RecurrentDropout(Counter(), 0.1)
    with pytest.raises(ValueError, match="drops recurrent matrices, and Counter has none"):
        DropConnect(Counter(), 0.1)
    with pytest.raises(ValueError, match=r"a leaf of the state holds torch\.int64, which cannot be dropped"):
        Zoneout(Counter(), (0.1,))
    y, after = Zoneout(Counter(), 0.5)(torch.zeros(1, 3, 1))  # one chance is for the leaves that can
    assert (y.flatten().tolist(), after.item()) == ([0, 1, 2], 3)
