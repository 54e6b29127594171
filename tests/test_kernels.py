"""Which kernel runs, and that it says so: forcing, refusals in words, explain."""

import pytest
import torch

from ostinato import kernels
from ostinato.cells import GRU, LSTM, MGU, Elman

X = torch.randn(3, 5, 4)


def call(cell, x=X):
    return cell.recurrence, cell.drive(x), cell.initial_state(len(x)), *cell.weights()


def test_a_forced_backend_that_has_no_such_kernel_says_which_it_has():
    with kernels.backend("aten"), pytest.raises(kernels.BackendError) as told:
        MGU(4, 6)(X)
    assert str(told.value) == (
        "backend 'aten' was asked for mgu, but it has no mgu kernel (it has: elman_relu, elman_tanh, gru, lstm)"
    )


def test_a_forced_backend_refuses_what_it_cannot_do():
    cell, resets = LSTM(4, 6), torch.zeros(3, 5, dtype=torch.bool)
    with kernels.backend("aten"), pytest.raises(kernels.BackendError, match="it cannot reset the state in mid-seq"):
        GRU(4, 6)(X, resets=resets)
    with kernels.backend("aten"), pytest.raises(kernels.BackendError, match=r"inside a torch\.func transform"):
        torch.func.vmap(lambda x: cell(x)[0])(X[None])


def test_a_refused_call_runs_on_the_reference_when_nothing_is_forced():
    resets = torch.zeros(3, 5, dtype=torch.bool)
    cell = GRU(4, 6)
    assert torch.allclose(cell(X, resets=resets)[0], cell(X)[0], atol=1e-6)
    assert kernels.choose(*call(cell)).backend == "aten"
    assert kernels.choose(*call(cell), resets=resets) is None


def test_forcing_ends_with_its_block_even_after_an_error():
    cell = LSTM(4, 6)
    with pytest.raises(KeyError), kernels.backend("reference"):
        assert kernels.choose(*call(cell)) is None
        raise KeyError
    assert kernels.choose(*call(cell)).backend == "aten"


def test_an_unknown_backend_says_which_are_near():
    with pytest.raises(ValueError, match="no backend is called 'aten2'; did you mean aten"), kernels.backend("aten2"):
        pass


@pytest.mark.parametrize("cell", [LSTM(4, 6), GRU(4, 6), Elman(4, 6), Elman(4, 6, "relu")])
def test_torch_takes_its_own_recurrences(cell):
    assert kernels.why_not(cell.recurrence, "aten", *call(cell)[1:]) is None
    assert "aten: chosen, the fastest that takes this call on cpu" in cell.explain(X)
    assert "reference: could run, it is the oracle of aten" in cell.explain(X)


def test_reasons_are_sentences():
    cell = LSTM(4, 6)
    recurrence, drive, *rest = call(cell)
    assert "as one affine map" in kernels.why_not(recurrence, "aten", drive.value(), *rest)
    assert "batch is empty" in kernels.why_not(*call(cell, X[:0])[:1], "aten", *call(cell, X[:0])[1:])
    odd = kernels.Affine(X.to(torch.complex64), drive.weight, drive.bias)
    assert "its dtype is torch.complex64" in kernels.why_not(recurrence, "aten", odd, *rest)


def test_explain_names_the_reason_and_what_runs_instead():
    lines = Elman(4, 6, "gelu").explain(X).splitlines()
    assert lines[0].startswith("aten: not chosen, it has no elman_gelu kernel")
    assert lines[-1] == "reference: chosen, the step-by-step loop (no kernel takes this call)"
    with kernels.backend("reference"):
        assert LSTM(4, 6).explain(X).splitlines()[0] == "reference: forced by backend('reference')"


def test_an_empty_batch_still_works():
    y, state = LSTM(4, 6)(X[:0])
    assert y.shape == (0, 5, 6)
    assert state.c.shape == (0, 6)


@pytest.mark.parametrize("cell_class", [LSTM, GRU, Elman])
def test_mixed_precision_carries_the_state_in_its_own_dtype(cell_class) -> None:
    # Oracle: the float32 walk; bfloat16 products move gradients by a few per mille.
    torch.manual_seed(0)
    cell, x = cell_class(16, 32), torch.randn(4, 9, 16)

    def gradients() -> list[torch.Tensor]:
        y, state = cell(x)
        assert all(leaf.dtype == torch.float32 for leaf in state)
        return list(torch.autograd.grad(y.float().square().sum(), list(cell.parameters())))

    with kernels.backend("reference"):
        want = gradients()
    with torch.autocast("cpu", torch.bfloat16), kernels.backend("aten"):
        if cell_class is LSTM and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            with pytest.raises(kernels.BackendError, match="no LSTM of bfloat16 for this processor"):
                gradients()
            return
        got = gradients()
    for g, w in zip(got, want, strict=True):
        assert float((g - w).norm() / w.norm()) < 2e-2


@pytest.mark.parametrize("cell_class", [LSTM, GRU, Elman])
def test_a_wrong_shape_is_an_error_and_never_memory(cell_class):
    cell = cell_class(4, 6)
    for x in (torch.randn(3, 5, 5), torch.randn(3, 5, 3), torch.randn(3, 5, 2, 4)):
        with pytest.raises(ValueError, match=r"x must be \[B, T, 4\]"):
            cell(x)
    for state in (cell.initial_state(1), cell.initial_state(4), cell_class(4, 7).initial_state(3)):
        with pytest.raises(ValueError, match="each leaf of the state must"):
            cell(X, state)
