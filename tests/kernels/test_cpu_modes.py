"""The backend "cpu" under torch's modes: autocast, checkpointing, forward mode, anomaly mode."""

import copy
import warnings
from typing import Any

import pytest
import torch
from test_cpu_scan import OwnCell, everything
from torch.utils.checkpoint import checkpoint

from ostinato import kernels
from ostinato.cells import GRU, LSTM, MGU
from ostinato.cells.gru import GRUState
from ostinato.kernels import dispatch
from ostinato.kernels.cpu.runtime import cpu_features


@pytest.mark.parametrize("hidden", [7, 64])
@pytest.mark.parametrize("cell_class", [LSTM, GRU, MGU, OwnCell])
def test_mixed_precision_rounds_the_factors_of_products_alone(
    cell_class: Any, hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_features, "has_avx512_bf16", lambda: True)  # elsewhere the same, more slowly
    torch.manual_seed(0)
    cell, lengths = cell_class(20, hidden), torch.tensor([12, 3, 12, 0, 7])
    x = torch.randn(5, 12, 20)
    want = everything(copy.deepcopy(cell), x, "reference", torch.float64, lengths=lengths)
    with torch.autocast("cpu", torch.bfloat16):
        got = everything(cell, x, "numba", torch.float32, lengths=lengths)
        low = everything(cell, x.bfloat16().float(), "numba", torch.float32, lengths=lengths)
    exact = everything(cell, x, "numba", torch.float32, lengths=lengths)
    for mine, theirs in zip(got, want, strict=True):
        assert mine.dtype == torch.float32
        error = float((mine.double() - theirs).norm() / theirs.norm())
        assert error < 2e-2
    assert any(not torch.equal(a, b) for a, b in zip(got, exact, strict=True))
    assert torch.equal(low[0], got[0])  # x is a factor too


def test_without_fast_products_mixed_precision_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_features, "has_avx512_bf16", lambda: False)
    with torch.autocast("cpu", torch.bfloat16):
        assert "numba: not chosen, this processor has no products of bfloat16" in MGU(4, 6).explain(
            torch.randn(3, 5, 4)
        )


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("cell_class", [LSTM, GRU, OwnCell])
def test_checkpointed_gradients_are_the_same(cell_class: Any, reentrant: bool) -> None:
    torch.manual_seed(0)
    cell, x = cell_class(4, 6), torch.randn(3, 5, 4, requires_grad=True)
    learnt = [x, *cell.parameters()]
    with kernels.backend("numba"):
        want = torch.autograd.grad(cell(x)[0].sum(), learnt)
        y = checkpoint(lambda x: cell(x)[0], x, use_reentrant=reentrant)
        y.sum().backward()
    assert all(torch.equal(t.grad, w) for t, w in zip(learnt, want, strict=True))


# torch's own forward mode still compiles by TorchScript.
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_forward_mode_takes_the_loop() -> None:
    cell, x = MGU(4, 6), torch.randn(3, 5, 4)
    slope = torch.randn_like(x)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, slope)
        assert "numba: not chosen, in forward mode only the reference" in cell.explain(dual)
        got = torch.autograd.forward_ad.unpack_dual(cell(dual)[0]).tangent
    want = torch.func.jvp(lambda x: cell(x)[0], (x,), (slope,))[1]
    torch.testing.assert_close(got, want)


def test_a_first_use_in_anomaly_mode_derives_all_the_same() -> None:
    cell, x = OwnCell(3, 13), torch.randn(2, 5, 3)
    with torch.autograd.set_detect_anomaly(True), kernels.backend("numba"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y, _ = cell(x)
        y.sum().backward()
    assert "Scan" in str(y.grad_fn)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_what_is_traced_by_jit_reads_another_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))
    torch.manual_seed(0)
    cell, x, other = GRU(4, 6).eval(), torch.randn(2, 5, 4), torch.randn(3, 5, 4)

    class Reads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return self.cell(x, GRUState(h))[0]

    with torch.no_grad():
        traced = torch.jit.trace(Reads(), (x, torch.zeros(2, 6)))
    torch.testing.assert_close(traced(other, torch.ones(3, 6)), cell(other, GRUState(torch.ones(3, 6)))[0])
