"""What is written in place after a scan: gradients are those of the loop, or torch says that they cannot be.

Oracle: the reference loop, whose output is a copy that backward does not want.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ostinato import kernels, tree
from ostinato.cells import GRU, LSTM, Elman
from ostinato.kernels.cpu.runtime import memory
from ostinato.layers import Bidirectional, Stack

WRITES: dict[str, Callable[[Tensor], Any]] = {
    "relu_": lambda y: y.relu_(),
    "a view": lambda y: y[:, 1:3].mul_(2),
    "one of unbind": lambda y: y.detach().select(1, 0).zero_(),
    "an item": lambda y: y.__setitem__((slice(None), -1), 0.0),
    "twice": lambda y: y.mul_(2).add_(1),
}
CELLS = [Elman, LSTM, GRU]


def gradients(cell: Any, x: Tensor, backend: str, write: Callable[..., Any], **options: Any) -> list[Tensor]:
    """Of x and the parameters, where (y, state) is written to before the backward."""
    x = x.clone().requires_grad_()
    with kernels.backend(backend):
        y, state = cell(x, None, **options)
    write(y, state)
    total = y.square().sum() + sum(leaf.sum() for leaf in tree.leaves(state))
    return [y.detach(), *torch.autograd.grad(total, [x, *cell.parameters()])]


def same(cell: Any, x: Tensor, write: Callable[..., Any], **options: Any) -> None:
    got, want = (gradients(cell, x, name, write, **options) for name in ("numba", "reference"))
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("how", WRITES)
@pytest.mark.parametrize("kind", CELLS)
def test_an_output(kind: Any, how: str) -> None:
    torch.manual_seed(0)
    cell, x = kind(3, 5).double(), torch.randn(4, 6, 3, dtype=torch.float64)
    same(cell, x, lambda y, _: WRITES[how](y))
    same(cell, x, lambda y, _: WRITES[how](y), lengths=torch.tensor([6, 2, 0, 5]))


@pytest.mark.parametrize("kind", CELLS)
def test_a_large_output_in_memory_that_is_taken_again(kind: Any) -> None:
    torch.manual_seed(0)
    cell, x = kind(3, 64).double(), torch.randn(40, 60, 3, dtype=torch.float64)
    assert memory.SMALLEST < 40 * 60 * 64 * 8
    same(cell, x, lambda y, _: y.relu_())


@pytest.mark.parametrize("kind", CELLS)
def test_a_state(kind: Any) -> None:
    """As a copy of it; the loop's own is an intermediate value of its graph, and torch refuses there."""
    torch.manual_seed(0)
    cell, x = kind(3, 5).double(), torch.randn(4, 6, 3, dtype=torch.float64)

    def grads(backend: str, copies: bool) -> list[Tensor]:
        given = x.clone().requires_grad_()
        with kernels.backend(backend):
            y, state = cell(given)
        leaves = [leaf.clone() if copies else leaf for leaf in tree.leaves(state)]
        total = y.sum() + sum(leaf.mul_(3).sum() for leaf in leaves)
        return list(torch.autograd.grad(total, [given, *cell.parameters()]))

    for mine, theirs in zip(grads("numba", False), grads("reference", True), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_both_directions_and_layers() -> None:
    torch.manual_seed(0)
    model = Stack(Bidirectional(GRU(3, 5), GRU(3, 5)), Bidirectional(GRU(10, 5), GRU(10, 5))).double()
    same(model, torch.randn(4, 6, 3, dtype=torch.float64), lambda y, _: y.relu_())


def test_twice_through_one_graph() -> None:
    torch.manual_seed(0)
    cell, x = GRU(3, 5).double(), torch.randn(4, 6, 3, dtype=torch.float64)
    learnt, runs = list(cell.parameters()), []
    for name in ("numba", "reference"):
        with kernels.backend(name):
            y = cell(x)[0]
        first = y.sum()
        found = [*torch.autograd.grad(first, learnt, retain_graph=True)]
        y.mul_(2)
        found += [*torch.autograd.grad(first, learnt, retain_graph=True), *torch.autograd.grad(y.sum(), learnt)]
        runs.append(found)
    for mine, theirs in zip(*runs, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def test_where_a_mode_watches() -> None:
    """The scan is an operator of torch there."""
    torch.manual_seed(0)
    cell, x = GRU(3, 5).double(), torch.randn(4, 6, 3, dtype=torch.float64)

    def watched(name: str) -> list[Tensor]:
        with Watching():
            return gradients(cell, x, name, lambda y, _: y.relu_())

    for mine, theirs in zip(watched("numba"), gradients(cell, x, "reference", lambda y, _: y.relu_()), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("what", ["x", "start", "weight"])
def test_what_backward_wants_of_the_callers_may_not_change(what: str) -> None:
    """A wrong gradient in silence is the worst answer: torch's own error comes, as from the loop."""
    cell, x = GRU(3, 5), torch.randn(4, 6, 3)
    start = cell.initial_state(4)
    with kernels.backend("numba"):
        y = cell(x, start)[0]
    with torch.no_grad():
        {"x": x, "start": start.h, "weight": cell.w_rec}[what].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_the_watch_on_an_output_holds_no_memory() -> None:
    from ostinato.kernels.scan.autograd import Watch

    t = torch.zeros(1000)
    watch = Watch(t)
    assert watch.count.untyped_storage().nbytes() == 0 and not watch.written()
    t.data.add_(1)  # whoever goes past torch's count goes past this one
    assert t.numel() == 1000 and not watch.written()
    t[3:].add_(1)
    assert watch.written()
