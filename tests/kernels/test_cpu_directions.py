"""Two directions at once by the backend "numba". Oracles: the float64 reference loop, and one direction at a time."""

from typing import Any

import pytest
import torch
from test_cpu_scan import OwnCell
from torch import Tensor

from ostinato import kernels, tree
from ostinato.cells import GRU, LSTM, MGU, RAN
from ostinato.kernels.cpu.executor import CpuExecutor
from ostinato.layers.bidirectional import Bidirectional, reverse

PAIRS = [(LSTM, LSTM), (GRU, MGU), (RAN, OwnCell)]
KINDS = ("whole", "lengths", "resets", "both")
T, D, H = 6, 4, 7


def given(kind: str, rows: int) -> dict[str, Tensor]:
    lengths, resets = torch.tensor([3, 6, 0, 5, 1][:rows]), torch.zeros(rows, T, dtype=torch.bool)
    resets[:, 2], resets[0, 4] = True, True
    found = {"lengths": {"lengths": lengths}, "resets": {"resets": resets}}
    return {"whole": {}, "both": found["lengths"] | found["resets"], **found}[kind]


def everything(layer: Any, x: Tensor, backend: str, **options: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    with kernels.backend(backend):
        y, state = layer(x, None, **options)
        leaves = tree.leaves(state)
        loss = (y * y.detach().cos()).sum() + sum((s * s).sum() for s in leaves)
        grads = torch.autograd.grad(loss, [x, *layer.parameters()])
    return [y, *leaves, *grads]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs were done at once, launch by launch."""
    found, launch = list[int](), CpuExecutor.launch
    monkeypatch.setattr(CpuExecutor, "launch", lambda self, runs: (found.append(len(runs)), launch(self, runs))[1])
    return found


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", PAIRS)
def test_two_cells_run_at_once_and_give_the_same(
    pair: Any, kind: str, rows: int, threads: int, sizes: list[int]
) -> None:
    torch.manual_seed(0)
    before = torch.get_num_threads()
    layer = Bidirectional(*(cell(D, H) for cell in pair)).double()
    x, options = torch.randn(rows, T, D, dtype=torch.float64), given(kind, rows)
    want = everything(layer, x, "reference", **options)
    try:
        torch.set_num_threads(threads)
        got = everything(layer, x, "numba", **options)
    finally:
        torch.set_num_threads(before)
    assert sizes == [2, 2]
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


def test_no_bit_differs_from_one_direction_at_a_time() -> None:
    torch.manual_seed(0)
    layer, x = Bidirectional(LSTM(D, H), GRU(D, H)), torch.randn(2, T, D)
    with kernels.backend("numba"):
        y, after = layer(x)
        there, right = layer.rightward(x)
        back, left = layer.leftward(x.flip(1))
    assert torch.equal(y, torch.cat([there, reverse(back)], dim=-1))
    alone = tree.leaves((right, left))
    assert all(torch.equal(a, b) for a, b in zip(tree.leaves(after), alone, strict=True))


def test_wide_matrices_of_two_directions_stay_with_their_threads(sizes: list[int]) -> None:
    """One row on two threads, by more weights than a cache holds: no thread waits, and the result is the same."""
    torch.manual_seed(0)
    before, x = torch.get_num_threads(), torch.randn(1, T, 160)
    layer = Bidirectional(LSTM(160, 160), LSTM(160, 160))
    found = []
    try:
        for threads in (1, 2, 5):  # with five there are threads to share a direction's columns
            torch.set_num_threads(threads)
            found.append(everything(layer, x, "numba"))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    assert sizes == [2] * 6


def test_the_gradient_of_a_gradient() -> None:
    torch.manual_seed(0)
    layer = Bidirectional(GRU(2, 3), MGU(2, 3)).double()
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    with kernels.backend("numba"):
        assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], x, atol=1e-6, rtol=1e-4)
