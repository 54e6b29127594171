"""ostinato.nn against torch.nn. Oracle: torch's own modules, with the same parameters."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import ostinato.nn
from ostinato import kernels
from torch_twins import KINDS, pair

# torch says so of its own module, the oracle.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
GRIDS = {
    "one layer": {},
    "no bias, batch first": {"bias": False, "batch_first": True},
    "two layers": {"num_layers": 2, "batch_first": True},
    "two directions": {"bidirectional": True},
    "all": {"num_layers": 2, "bidirectional": True, "batch_first": True},
}
NONE = ("lstm projected", "aten")  # aten runs recurrences that torch has, and has no projected one
LENGTHS = [9, 3, 6, 1]


def leaves(tree):
    """The tensors of what a module takes or returns."""
    if isinstance(tree, PackedSequence):
        return [tree.data]
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [leaf for part in tree if part is not None for leaf in leaves(part)]


def grown(given):
    """A copy of an input whose leaves collect gradients."""
    if given is None:
        return None
    if isinstance(given, PackedSequence):
        return given._replace(data=given.data.clone().requires_grad_())
    if isinstance(given, torch.Tensor):
        return given.clone().requires_grad_()
    return tuple(grown(part) for part in given)


def start(module, *rows):
    """A state for hx, random; `rows` is () for one sequence, (B,) for a batch."""
    count = module.num_layers * (2 if module.bidirectional else 1)
    dtype = module.weight_ih_l0.dtype
    h = torch.randn(count, *rows, module.proj_size or module.hidden_size, dtype=dtype)
    return (h, torch.randn(count, *rows, module.hidden_size, dtype=dtype)) if isinstance(module, nn.LSTM) else h


def ran(module, given, hx, seed=0):
    """All that a user sees of a call: its results, and the gradients of the input, of hx and of all parameters."""
    given, hx = grown(given), grown(hx)
    torch.manual_seed(seed)
    results = module(given, hx)
    module.zero_grad()
    weights = [torch.linspace(-1, 1, leaf.numel(), dtype=leaf.dtype).view(leaf.shape) for leaf in leaves(results)]
    torch.autograd.backward(leaves(results), weights)
    inputs = leaves((given, hx))
    return results, [leaf.grad for leaf in inputs] + [p.grad for p in module.parameters()]


def assert_same(ours, theirs, given, hx=None):
    near = TOLERANCE[next(theirs.parameters()).dtype]
    (got, got_grads), (want, want_grads) = ran(ours, given, hx), ran(theirs, given, hx)
    assert type(got[0]) is type(want[0]) and type(got[1]) is type(want[1])
    if isinstance(given, PackedSequence):
        for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            a, b = getattr(got[0], field), getattr(want[0], field)
            assert a is b is None or (a is not None and b is not None and torch.equal(a, b))
    for a, b in zip(leaves(got), leaves(want), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert a.is_contiguous() or not b.is_contiguous()  # so that what may be viewed of torch's may be of ours
        assert (a - b).abs().max() <= near
    for a, b in zip(got_grads, want_grads, strict=True):
        assert a is not None and b is not None and a.shape == b.shape
        assert (a - b).abs().max() <= near * max(1.0, b.abs().max().item())


def batch(module, rows=4, steps=9):
    shape = (rows, steps) if module.batch_first else (steps, rows)
    return torch.randn(*shape, module.input_size, dtype=module.weight_ih_l0.dtype)


def packed(module, lengths=LENGTHS, enforce_sorted=False):
    x = batch(module, len(lengths), max(lengths))
    return pack_padded_sequence(x, torch.tensor(lengths), module.batch_first, enforce_sorted)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind, backend", [(k, b) for k in KINDS for b in ("reference", "aten") if (k, b) != NONE])
def test_equals_torch(kind, backend, grid, dtype):
    ours, theirs = pair(kind, dtype, **GRIDS[grid])
    with kernels.backend(backend):
        assert_same(ours, theirs, batch(theirs))
        assert_same(ours, theirs, batch(theirs), start(theirs, 4))
        assert_same(ours, theirs, packed(theirs), start(theirs, 4))
        assert_same(ours, theirs, torch.randn(7, 5, dtype=dtype), start(theirs))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_derived_kernel_equals_torch(kind, dtype):
    ours, theirs = pair(kind, dtype, **GRIDS["all"])
    with kernels.backend("numba"):
        assert_same(ours, theirs, batch(theirs), start(theirs, 4))
        assert_same(ours, theirs, packed(theirs))


@settings(max_examples=20, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    sizes=st.tuples(st.integers(1, 9), st.integers(4, 9)),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    options=st.fixed_dictionaries(
        {"num_layers": st.integers(1, 3), **{k: st.booleans() for k in ("bias", "batch_first", "bidirectional")}}
    ),
    given_state=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_shape_equals_torch(kind, sizes, lengths, options, given_state, seed):
    ours, theirs = pair(kind, sizes=sizes, seed=seed, **options)
    hx = start(theirs, len(lengths)) if given_state else None
    assert_same(ours, theirs, batch(theirs, len(lengths), max(lengths)), hx)
    assert_same(ours, theirs, packed(theirs, lengths), hx)


@pytest.mark.parametrize("lengths", [[9, 6, 3, 1], [5, 5, 5]], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sorted_packed_sequence_comes_back_as_it_came(kind, lengths):
    ours, theirs = pair(kind, bidirectional=True)
    given = packed(theirs, lengths, enforce_sorted=True)
    assert given.sorted_indices is None
    assert_same(ours, theirs, given, start(theirs, len(lengths)))
    got, want = (pad_packed_sequence(m(given)[0], total_length=11) for m in (ours, theirs))
    assert got[0].allclose(want[0], rtol=0, atol=1e-12) and torch.equal(got[1], want[1])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_parameters(kind, grid):
    name, own = KINDS[kind]
    modules = []
    for home in (nn, ostinato.nn):
        torch.manual_seed(5)
        modules.append(getattr(home, name)(5, 6, **own, **GRIDS[grid]))
    theirs, ours = modules
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert [[p.shape for p in part] for part in ours.all_weights] == [[p.shape for p in w] for w in theirs.all_weights]


@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_load_both_ways(kind):
    ours, theirs = pair(kind, **GRIDS["all"])
    nn.init.normal_(ours.weight_hh_l1_reverse)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert torch.equal(theirs.weight_hh_l1_reverse, ours.weight_hh_l1_reverse)
    assert_same(ours, theirs, batch(theirs))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("p", [0.4, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_drops_what_torch_drops(kind, p, dtype):
    ours, theirs = pair(kind, dtype, num_layers=3, dropout=p, bidirectional=True, batch_first=True)
    assert_same(ours, theirs, batch(theirs))
    assert_same(ours, theirs, packed(theirs))
    assert_same(ours, theirs, torch.randn(7, 5, dtype=dtype))
    x = batch(theirs)
    trained = ours(x)[0]
    assert_same(ours.eval(), theirs.eval(), x)
    assert (ours(x)[0] - trained).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_and_description_are_torchs(kind):
    ours, theirs = pair(kind, **GRIDS["all"], bias=False, dropout=0.25)
    for name in (
        "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size",
        "mode",
    ):  # fmt: skip
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.flatten_parameters() is None
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles_run_alone(kind):
    ours, theirs = pair(kind)
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert_same(twin, theirs, batch(theirs))
        nn.init.zeros_(twin.weight_ih_l0)
        assert ours.weight_ih_l0.ne(0).any()


def test_parameters_may_be_replaced():
    ours, theirs = pair("gru")
    x = batch(theirs)
    doubled = {name: 2 * p.detach() for name, p in theirs.named_parameters()}
    want = torch.func.functional_call(theirs, doubled, (x,))[0]
    assert (torch.func.functional_call(ours, doubled, (x,))[0] - want).abs().max() <= 1e-12
    nn.utils.parametrizations.weight_norm(ours, "weight_hh_l0")
    assert (ours(x)[0] - theirs(x)[0]).abs().max() <= 1e-12


def test_the_fastest_kernel_is_chosen(monkeypatch):
    ran_on = []
    choose = kernels.dispatch.choose
    monkeypatch.setattr(kernels, "choose", lambda *a, **k: ran_on.append(choose(*a, **k)) or ran_on[-1])
    ours, theirs = pair("gru", bidirectional=True)
    ours(packed(theirs))
    assert [kernel.backend for kernel in ran_on] == ["aten", "aten"]  # tests prefer it


def test_an_empty_batch_gives_an_empty_output():
    ours, theirs = pair("gru")
    got, want = ours(torch.zeros(3, 0, 5).double()), theirs(torch.zeros(3, 0, 5).double())
    assert [t.shape for t in got] == [t.shape for t in want]
