"""The softmax layer that never holds all logits. Oracle: torch's linear and cross_entropy."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ostinato import kernels
from ostinato.kernels.cpu.library import cross_entropy
from ostinato.kernels.cpu.runtime import cpu_features
from ostinato.kernels.loss import linear_cross_entropy
from ostinato.kernels.torch.softmax import ROWS

H = 9


@pytest.fixture(params=["aten", "numba"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """By torch's products, and by our own, in several blocks and for two threads."""
    monkeypatch.setattr(cross_entropy, "BLOCK", 2048 * 200)
    monkeypatch.setattr(cpu_features, "has_avx512_bf16", lambda: True)
    before = torch.get_num_threads()
    torch.set_num_threads(2 if request.param == "numba" else before)
    with kernels.backend(request.param):
        yield request.param
    torch.set_num_threads(before)


def inputs(rows: int, vocabulary: int, dtype: torch.dtype, ignored: float = 0.0) -> tuple[list[Tensor], Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = ((rows, H), (vocabulary, H), (vocabulary,))
    leaves = [torch.randn(s, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]
    targets = torch.randint(vocabulary, (rows,), generator=draw)
    targets[torch.rand(rows, generator=draw) < ignored] = -100
    return leaves, targets


def both(leaves: list[Tensor], targets: Tensor, factor: float, **options: bool) -> list[tuple[Tensor, ...]]:
    """(loss, gradients) of ours and of torch's, the loss multiplied by `factor` before the backward pass."""
    found = []
    for loss in (
        linear_cross_entropy(leaves[0], leaves[1], leaves[2], targets, **options),
        F.cross_entropy(F.linear(*leaves), targets, reduction="sum") / max(1, int((targets >= 0).sum())),
    ):
        found.append((loss.detach(), *torch.autograd.grad(loss * factor, leaves)))
    return found


@pytest.mark.parametrize("ignored", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS, 2 * ROWS + 63])
@pytest.mark.parametrize("vocabulary", [50, 2048, 2503])
def test_loss_and_gradients_are_torchs(vocabulary: int, rows: int, ignored: float) -> None:
    leaves, targets = inputs(rows, vocabulary, torch.float64, ignored)
    ours, theirs = both(leaves, targets, factor=-2.5)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)


def test_large_logits_do_not_overflow() -> None:
    leaves, targets = inputs(5, 2048, torch.float64)
    with torch.no_grad():
        leaves[1].mul_(1e4)
    ours, theirs = both(leaves, targets, factor=1.0)
    assert math.isfinite(float(ours[0]))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_bfloat16_products_stay_within_two_hundredths() -> None:
    leaves, targets = inputs(700, 2500, torch.float32, ignored=0.1)
    ours, theirs = both(leaves, targets, factor=1.0, bfloat16=True)
    assert float((ours[0] - theirs[0]).abs() / theirs[0]) < 2e-3
    for mine, exact in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        assert float((mine - exact).norm() / exact.norm()) < 2e-2
    assert not torch.equal(ours[0], theirs[0])  # it did take the other way


def test_no_gradient_no_work_for_one() -> None:
    leaves, targets = inputs(300, 2048, torch.float64)
    with torch.no_grad():
        loss = linear_cross_entropy(leaves[0], leaves[1], leaves[2], targets)
    torch.testing.assert_close(loss, F.cross_entropy(F.linear(*leaves), targets).detach(), rtol=1e-12, atol=0)
    assert not loss.requires_grad


def test_a_tied_weight_gets_both_gradients() -> None:
    # As in a tied language model: the matrix is the embedding too.
    leaves, targets = inputs(300, 2048, torch.float64)
    weight, bias = leaves[1:]
    read = torch.arange(300)
    ours = linear_cross_entropy(F.embedding(read, weight), weight, bias, targets)
    theirs = F.cross_entropy(F.linear(F.embedding(read, weight), weight, bias), targets)
    grads = [torch.autograd.grad(loss, weight)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-11, atol=1e-14)


def test_mixed_precision_goes_block_by_block_too() -> None:
    leaves, targets = inputs(300, 2500, torch.float32)
    exact = F.cross_entropy(F.linear(*leaves), targets)
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(leaves[0].bfloat16(), leaves[1], leaves[2], targets)
    assert "LinearCrossEntropy" in str(loss.grad_fn)
    assert float((loss - exact).detach().abs() / exact.detach()) < 2e-3
    got, want = (torch.autograd.grad(x, leaves[1])[0] for x in (loss, exact))
    assert float((got - want).norm() / want.norm()) < 2e-2
