"""The backend "numba" as torch sees it. Oracle: the reference walk in float64."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import kernels, tree
from ostinato.cells import GRU, LSTM, MGU, GRUResetBefore
from ostinato.kernels import dispatch
from ostinato.recurrence import Affine, Recurrence
from ostinato.recurrent import Cell

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def norm_gates(drive: Tensor, h: Tensor, w: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    return F.layer_norm(drive + h @ w.T, drive.shape[-1:], gain, shift, eps=0.1)


class OwnCell(Cell[Tensor]):
    """A cell that no library has: layer norm, a softmax over features, and a decay that is learnt."""

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.w_in = nn.Linear(d_in, d_hidden)
        self.w_rec = nn.Parameter(torch.randn(d_hidden, d_hidden) / d_hidden**0.5)
        self.gain, self.shift = nn.Parameter(torch.rand(d_hidden) + 0.5), nn.Parameter(torch.rand(d_hidden))

    recurrence = Recurrence("own", lambda a, h: (F.softmax(a, -1) * h, 0.9 * h + a.tanh()), norm_gates)

    def initial_state(self, batch: int) -> Tensor:
        return self.w_rec.new_zeros(batch, len(self.w_rec)) + self.shift

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, self.w_in.bias)

    def weights(self) -> tuple[Tensor, ...]:
        return self.w_rec, self.gain, self.shift


def everything(cell: Any, x: Tensor, backend: str, dtype: torch.dtype, **options: Any) -> list[Tensor]:
    """Outputs, final state, and the gradients of x and all parameters."""
    cell, x = cell.to(dtype), x.to(dtype).clone(memory_format=torch.preserve_format).requires_grad_()
    with kernels.backend(backend):
        y, state = cell(x, None, **options)
        loss = sum(
            (t * torch.linspace(1, 2, t.numel(), dtype=dtype).view_as(t)).sum() for t in (y, *tree.leaves(state))
        )
        assert isinstance(loss, Tensor)
        gradients = torch.autograd.grad(loss, [x, *cell.parameters()])
    return [t.detach().clone() for t in (y, *tree.leaves(state), *gradients)]


def assert_equal_to_the_walk(cell: Any, x: Tensor, dtype: torch.dtype, **options: Any) -> None:
    got = everything(cell, x, "numba", dtype, **options)
    want = everything(cell, x, "reference", torch.float64, **options)
    for number, (g, w) in enumerate(zip(got, want, strict=True)):
        gap = float((g.double() - w).abs().max() / w.abs().max().clamp(min=1))
        assert gap <= TOLERANCE[dtype], f"result {number} differs by {gap:.1e}"


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def ragged(rows: int, steps: int) -> dict[str, Tensor]:
    lengths = torch.arange(rows).mul(7).remainder(steps + 1)
    resets = (torch.arange(rows * steps).view(rows, steps).mul(5) % 7) == 0
    return {"lengths": lengths, "resets": resets}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("cell_class", [GRUResetBefore, OwnCell])
@pytest.mark.parametrize("hidden", [1, 7, 33, 100])
def test_odd_widths(cell_class: Any, hidden: int, dtype: torch.dtype, threads: int) -> None:
    torch.manual_seed(0)
    cell = cell_class(3, hidden)
    for rows, steps in ((1, 1), (5, 9), (50, 4)):  # 50 rows: several blocks a thread
        x = torch.randn(rows, steps, 3)
        assert_equal_to_the_walk(cell, x, dtype)
        assert_equal_to_the_walk(cell, x, dtype, **ragged(rows, steps))


def test_the_number_of_threads_changes_no_bit() -> None:
    torch.manual_seed(0)
    cell, x = LSTM(6, 33), torch.randn(29, 11, 6)
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(everything(cell, x, "numba", torch.float32, **ragged(29, 11)))
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_strides_do_not_matter() -> None:
    torch.manual_seed(0)
    cell = GRU(6, 7)
    x = torch.randn(9, 5, 12).transpose(0, 1)[..., ::2]
    assert_equal_to_the_walk(cell, x, torch.float32, **ragged(5, 9))
    cell = cell.float()
    state = tree.like(cell.initial_state(5), [torch.randn(7, 5).T])
    with kernels.backend("numba"):
        got = cell(x, state)[0]
    with kernels.backend("reference"):
        torch.testing.assert_close(got, cell(x, state)[0])


def test_without_gradients_nothing_is_kept_and_nothing_differs() -> None:
    torch.manual_seed(0)
    cell, x = OwnCell(3, 7), torch.randn(4, 6, 3)
    with kernels.backend("numba"):
        want = cell(x, None, **ragged(4, 6))
        with torch.no_grad():
            got = cell(x, None, **ragged(4, 6))
    assert want[0].requires_grad and not got[0].requires_grad
    assert torch.equal(want[0], got[0]) and torch.equal(want[1], got[1])


def test_truncated_back_propagation_goes_on_from_a_state() -> None:
    """Memory that is taken again does not reach into what is still needed."""
    torch.manual_seed(0)
    cell = LSTM(4, 40)
    x = torch.randn(20, 300, 4)  # big enough for memory that is taken again
    results = []
    for backend in ("numba", "reference"):
        state, grads = None, []
        with kernels.backend(backend):
            for t in range(0, 300, 100):
                y, state = cell(x[:, t : t + 100], state)
                grads.append(torch.autograd.grad(y.square().mean(), list(cell.parameters()), retain_graph=t == 0))
                state = tree.detach(state)
        results.append([g for step in grads for g in step])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_gradient_has_a_derivative() -> None:
    """By the reference; the oracle is central differences."""
    torch.manual_seed(0)
    cell = GRU(3, 7).double()
    parameters = list(cell.parameters())
    x = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    options = ragged(3, 4)

    def y(x: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip([n for n, _ in cell.named_parameters()], weights, strict=True))
        return torch.func.functional_call(cell, named, (x, None), options)[0]

    with kernels.backend("numba"):
        assert torch.autograd.gradgradcheck(y, (x, *parameters), atol=1e-6, rtol=1e-4)


def test_it_is_chosen_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))
    x = torch.randn(3, 5, 4)
    assert (
        GRU(4, 6)
        .explain(x)
        .startswith("numba: chosen, the fastest that takes this call on cpu\naten: could run, numba")
    )
    assert "numba: chosen" in LSTM(4, 128).explain(torch.randn(20, 5, 4))
    assert "aten: chosen" in GRU(4, 6).explain(x[:, :3])  # a few steps are not worth compiling for
    assert "numba: could run, reference comes first" in MGU(4, 6).explain(x[:, :1])


def test_refusals_are_sentences() -> None:
    cell, x = MGU(4, 6), torch.randn(3, 5, 4)
    with torch.autocast("cpu", torch.float16):
        assert "numba: not chosen, mixed precision is written for float32 and bfloat16" in cell.explain(x)
    assert "float32 or float64 throughout, and this call has bfloat16" in cell.bfloat16().explain(x.bfloat16())
    assert "numba: not chosen, the batch is empty" in MGU(4, 6).explain(x[:0])

    class Sorting(OwnCell):
        recurrence = Recurrence("sorting", lambda a, h: (a, a.sort(dim=-1).values + h), norm_gates)

    line = 'recurrence = Recurrence("sorting"'
    told = Sorting(4, 6).explain(x)
    assert "the operation sort is outside the vocabulary (" in told
    assert __file__ in told and line in told

    class Branching(OwnCell):
        recurrence = Recurrence("branching", lambda a, h: (a if a.sum() > 0 else h, h), norm_gates)

    assert "its step branches on the values of a tensor; torch.where can be traced" in Branching(4, 6).explain(x)


def test_a_wrong_shape_is_an_error_and_never_memory() -> None:
    cell = GRU(4, 6)
    with kernels.backend("numba"):
        for x in (torch.randn(3, 5, 5), torch.randn(3, 5, 3)):
            with pytest.raises(ValueError, match=r"x must be \[B, T, 4\]"):
                cell(x)
        with pytest.raises(ValueError, match="each leaf of the state must have 3 rows"):
            cell(torch.randn(3, 5, 4), cell.initial_state(2))
        for x in (torch.randn(3, 5, 2, 4), torch.randn(3, 5, 4)[:, :, 0]):
            with pytest.raises((kernels.BackendError, ValueError)):
                cell(x)
        u, state = cell.drive(torch.randn(3, 5, 4)).value(), cell.initial_state(3)
        for wrong in ({"lengths": torch.tensor([5, 5])}, {"resets": torch.zeros(3, 4, dtype=torch.bool)}):
            with pytest.raises(ValueError, match=r"must be (int64|bool) of shape"):
                cell.recurrence.scan(u, state, *cell.weights(), **wrong)
        uneven = Recurrence("uneven", lambda d, h: (d[0] + d[1], h))
        with pytest.raises(ValueError, match="with the same rows and steps, and they are"):
            uneven.scan((torch.randn(3, 5, 4), torch.randn(1, 5, 4)), torch.zeros(3, 4))
        with pytest.raises((kernels.BackendError, ValueError, RuntimeError)):
            cell(torch.randn(3, 5, 4), GRU(4, 7).initial_state(3))
