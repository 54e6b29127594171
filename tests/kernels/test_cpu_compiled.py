"""The derived kernels inside torch.compile. Oracle: the reference walk in float64, or eager."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from graphs import MARKS, PARTS, Recorder, X, assert_the_same, everything
from torch import Tensor, nn
from torch.utils import cpp_extension

import ostinato.nn
from ostinato import kernels
from ostinato.cells import GRU, LSTM, MGU
from ostinato.kernels import dispatch
from ostinato.layers import Pointwise, Stack


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing compiled before, and the preference that users have."""
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))
    torch.manual_seed(0)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("marks", [{}, MARKS], ids=["whole", "ragged"])
@pytest.mark.parametrize("name", PARTS)
def test_a_compiled_model_runs_our_kernels_both_ways(name: str, marks: dict[str, Tensor]) -> None:
    part, recorder = PARTS[name]().double(), Recorder()
    compiled = torch.compile(part, backend=recorder, fullgraph=True)
    got = everything(compiled, part, X.double(), **marks)
    scans = 4 if name == "deep" else 1
    assert recorder.graphs == [["scan"] * scans, ["scan_backward"] * scans]
    with kernels.backend("reference"):
        assert_the_same(got, everything(part, part, X.double(), **marks), 1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # of Inductor's own imports
def test_the_default_compiler_gives_what_eager_gives() -> None:
    part = Stack(GRU(4, 4), Pointwise(nn.Linear(4, 3)))
    try:
        cpp_extension.get_cxx_compiler()
        backend = "inductor"
    except RuntimeError:
        backend = "aot_eager"
    got = everything(torch.compile(part, backend=backend, fullgraph=True), part, X, **MARKS)
    assert_the_same(got, everything(part, part, X, **MARKS))


def test_without_gradients_nothing_is_kept_for_them() -> None:
    part = MGU(4, 5)
    compiled = torch.compile(part, backend="aot_eager", fullgraph=True)
    for learning in (False, True):
        with torch.set_grad_enabled(learning):
            compiled(X)
            with torch.profiler.profile(record_shapes=True) as profile:
                compiled(X)
        calls = [event for event in profile.events() or [] if event.name == "ostinato::scan"]
        assert {call.concrete_inputs[1] for call in calls} == {learning}


def test_torchs_own_modules_by_our_names() -> None:
    module, recorder = (
        ostinato.nn.LSTM(4, 5, num_layers=2, batch_first=True, bidirectional=True, dropout=0.3),
        Recorder(),
    )
    compiled = torch.compile(module, backend=recorder, fullgraph=True)
    torch.manual_seed(1)
    y, (h, c) = compiled(X)
    assert recorder.graphs[0] == ["scan"] * 4
    torch.manual_seed(1)
    with kernels.backend("reference"):
        want, (h_want, c_want) = module(X)
    assert_the_same([y, h, c], [want, h_want, c_want])


def test_other_lengths_do_not_compile_again_and_again() -> None:
    part, recorder = MGU(4, 5), Recorder()
    compiled = torch.compile(part, backend=recorder, fullgraph=True)
    with torch.no_grad():
        for steps in (6, 7, 20, 5, 33):
            x = torch.randn(3, steps, 4)
            assert_the_same([compiled(x)[0]], [part(x)[0]])
    assert recorder.graphs == [["scan"]] * 2  # for one number of steps, then for any


def test_forcing_means_the_same_in_compiled_code() -> None:
    part, recorder = MGU(4, 5), Recorder()

    def looped(x: Tensor) -> Any:
        with kernels.backend("reference"):
            return part(x)

    compiled = torch.compile(part, backend=recorder, fullgraph=True)
    with torch.no_grad():
        compiled(X)
        with kernels.backend("reference"):
            compiled(X)
        compiled(X)
        torch.compile(looped, backend=recorder, fullgraph=True)(X)
        torch.compiler.reset()
        compiled(X[:, :3])  # too short to be worth a kernel
    assert recorder.graphs == [["scan"], [], [], []]


def test_a_refusal_in_compiled_code_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with kernels.backend("aten"), pytest.raises(Exception, match="nonstrict_trace"):
        torch.compile(LSTM(4, 5), backend="eager", fullgraph=True)(X)
    assert "'aten' was asked for lstm, but torch.compile and torch.export take torch's own kernels apart" in caplog.text
