"""What users do with torch.nn's modules and their outputs, done with ours. Oracle: torch's own modules."""

import itertools
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import ostinato.nn
from ostinato import kernels
from ostinato._torch import onednn_has_bfloat16
from ostinato.kernels import dispatch
from torch_twins import KINDS, pair

# torch says so of its own module, the oracle.
pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN"),
]

BACKENDS = ("reference", "aten", "numba")
PAIRS = [(k, b) for k in KINDS for b in BACKENDS if (k, b) != ("lstm projected", "aten")]
NARROW, WIDE = torch.bfloat16, torch.float32
CHANGES = {
    "relu_": lambda out: out.relu_(),
    "+=": lambda out: out.add_(torch.linspace(-1, 1, out.numel()).view(out.shape)),
    "masked_fill_": lambda out: out.masked_fill_(out > 0.1, 0.5),
    "a step": lambda out: out[:1].zero_(),
}


def leaves(results):
    out, state = results
    return [out.data if hasattr(out, "batch_sizes") else out, *(state if isinstance(state, tuple) else (state,))]


def slopes_after(change, module, x):
    """The gradients of all parameters where a user changes the output in place, or torch's refusal."""
    out, *state = leaves(module(x))
    change(out)
    module.zero_grad()
    try:
        (out.square().sum() + sum(leaf.square().sum() for leaf in state)).backward()
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)
        return None
    return [p.grad for p in module.parameters()]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind, backend", PAIRS)
def test_an_output_may_be_changed_in_place_where_torchs_may(kind, backend, change):
    allowed = 0
    for batch_first, two, rows, steps in itertools.product((False, True), (False, True), (1, 3), (1, 5)):
        ours, theirs = pair(kind, torch.float32, batch_first=batch_first, bidirectional=two)
        shapes = [(rows, steps, 5) if batch_first else (steps, rows, 5), (steps, 5)]
        for shape in shapes:
            x = torch.randn(shape)
            want = slopes_after(CHANGES[change], theirs, x)
            if want is None:  # oneDNN's LSTM keeps its output
                continue
            allowed += 1
            with kernels.backend(backend):
                got = slopes_after(CHANGES[change], ours, x)
            assert got is not None
            for g, w in zip(got, want, strict=True):
                assert (g - w).abs().max() <= 1e-5 * max(1.0, w.abs().max().item())
    assert allowed == (16 if kind == "lstm" else 32)


def test_nothing_is_copied_where_nobody_differentiates():
    ours, _ = pair("gru", torch.float32, batch_first=True)
    with kernels.backend("reference"), torch.no_grad(), torch.autograd.profiler.profile() as seen:
        ours(torch.randn(3, 8, 5))
    assert "aten::clone" not in {event.name for event in seen.function_events}


def states(module, dtype):
    """hx for 3 rows."""
    count = 2 if module.bidirectional else 1
    h = torch.randn(count, 3, module.proj_size or 6).to(dtype)
    return (h, torch.randn(count, 3, 6).to(dtype)) if isinstance(module, nn.LSTM) else h


@pytest.mark.parametrize("two", [False, True], ids=["one direction", "two directions"])
@pytest.mark.parametrize("kind, backend", PAIRS)
def test_autocast_returns_torchs_dtypes(kind, backend, two):
    ours, theirs = pair(kind, torch.float32, bidirectional=two)
    x = torch.randn(5, 3, 5)
    packed = pack_padded_sequence(x, torch.tensor([5, 3, 2]))
    calls = [(given, states(theirs, d) if d else None) for given in (x, packed) for d in (None, WIDE, NARROW)]
    calls += [(x.to(NARROW), None), (x.to(NARROW), states(theirs, WIDE))]
    for given, hx in calls:
        with torch.autocast("cpu", NARROW):
            want = _by_torch(theirs, given, hx)
            with _backend(backend):
                got = leaves(ours(given, hx))
        assert [t.dtype for t in got] == [t.dtype for t in want]
        for g, w in zip(got, want, strict=True):
            assert (g.float() - w.float()).abs().max() <= 0.03
        got[0].float().sum().backward()
        assert {p.grad.dtype for p in ours.parameters()} == {WIDE}


def _by_torch(module, given, hx):
    by_onednn = isinstance(module, nn.LSTM) and not module.proj_size and not isinstance(given, PackedSequence)
    if not by_onednn or onednn_has_bfloat16():
        return leaves(module(given, hx))
    # Here torch's own module raises; where oneDNN has the processor's bfloat16, all that it gives is narrow.
    with torch.backends.mkldnn.flags(enabled=False):
        return [t.to(NARROW) for t in leaves(module(given, hx))]


def _backend(name):
    # Without the processor's bfloat16 these kernels refuse mixed precision, and the call runs as a user's would.
    from ostinato.kernels.cpu.runtime.cpu_features import has_avx512_bf16

    missing = (name == "numba" and not has_avx512_bf16()) or (name == "aten" and not onednn_has_bfloat16())
    return nullcontext() if missing else kernels.backend(name)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn tanh"])
def test_a_module_on_the_device_meta_gives_shapes(kind):
    ours, theirs = (module.to("meta") for module in pair(kind, torch.float32))
    x = torch.zeros(5, 3, 5, device="meta")
    assert [t.shape for t in leaves(ours(x))] == [t.shape for t in leaves(theirs(x))]


def test_torch_jit_script_is_refused_in_words():
    ours, _ = pair("gru", torch.float32)
    told = (
        r"torch\.jit\.script cannot read ostinato\.nn\.GRU: use torch\.compile or torch\.export, or script a torch\.nn"
    )
    with pytest.warns(DeprecationWarning), pytest.raises(TypeError, match=told):
        torch.jit.script(nn.Sequential(ours))


class Flat(nn.Module):
    """A module as programs have it: tensors out."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x, hx=None):
        return leaves(self.module(x, hx))


@pytest.fixture
def preferred(monkeypatch):
    """The preference that users have."""
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))


def assert_any_shape_is_read(program, theirs, batch_first, with_state):
    for rows, steps in ((3, 8), (5, 8), (3, 11), (1, 6), (4, 1)):
        x = torch.randn(*((rows, steps) if batch_first else (steps, rows)), 5)
        hx = None
        if with_state:
            h = torch.randn(1, rows, theirs.proj_size or 6)
            hx = (h, torch.randn(1, rows, 6)) if isinstance(theirs, nn.LSTM) else h
        for got, want in zip(program(x, hx), leaves(theirs(x, hx)), strict=True):
            assert (got - want).abs().max() <= 1e-5


@pytest.mark.usefixtures("preferred")
@pytest.mark.parametrize("with_state", [False, True], ids=["zeros", "hx"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["T B", "B T"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_exported_program_reads_any_batch_and_any_number_of_steps(kind, batch_first, with_state):
    ours, theirs = pair(kind, torch.float32, batch_first=batch_first)
    rows, steps = torch.export.Dim("B"), torch.export.Dim("T")
    x = torch.randn(*((3, 8) if batch_first else (8, 3)), 5)
    of_state = ({1: rows}, {1: rows}) if kind.startswith("lstm") else {1: rows}
    shapes = {"x": {0: rows, 1: steps} if batch_first else {0: steps, 1: rows}, "hx": of_state if with_state else None}
    hx = states(theirs, WIDE) if with_state else None
    program = torch.export.export(Flat(ours), (x, hx), dynamic_shapes=shapes).module()
    assert_any_shape_is_read(program, theirs, batch_first, with_state)


@pytest.mark.usefixtures("preferred")
@pytest.mark.parametrize("batch_first", [False, True], ids=["T B", "B T"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn tanh"])
def test_one_compiled_graph_reads_any_batch_and_any_number_of_steps(kind, batch_first):
    ours, theirs = pair(kind, torch.float32, batch_first=batch_first)
    graphs = []

    def counted(graph, inputs):
        graphs.append(graph)
        return graph

    program = torch.compile(Flat(ours), dynamic=True, fullgraph=True, backend=counted)
    for rows, steps in ((3, 8), (5, 8), (3, 11), (6, 7)):
        x = torch.randn(*((rows, steps) if batch_first else (steps, rows)), 5)
        for got, want in zip(program(x), leaves(theirs(x)), strict=True):
            assert (got - want).abs().max() <= 1e-5
    assert len(graphs) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_torch_jit_traces_it(name):
    torch.manual_seed(0)
    ours, other = getattr(ostinato.nn, name)(4, 5, batch_first=True), torch.randn(2, 6, 4)
    traced = torch.jit.trace(ours, torch.randn(3, 7, 4))
    torch.testing.assert_close(traced(other)[0], ours(other)[0])
