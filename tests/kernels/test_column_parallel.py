"""Threads that take one row together compute what one thread computes, to the last bit. Oracle: the cut by rows."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ostinato import kernels, tree
from ostinato.cells import GRU, LSTM, LayerNormLSTM
from ostinato.kernels.cpu.gemm import column_parallel
from ostinato.kernels.cpu.runtime import thread_team
from ostinato.stream import Session

WAYS = ("omp", "pool", "none")
CELLS = [(LSTM, 33), (GRU, 128), (LayerNormLSTM, 40)]


@pytest.fixture(params=[2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OSTINATO_TEAM", request.param)
    thread_team._chosen.cache_clear()
    yield request.param
    thread_team._chosen.cache_clear()


def scanned(cell: Any, x: Tensor, **options: Any) -> list[Tensor]:
    """Outputs, state and gradients."""
    x = x.clone().requires_grad_()
    with kernels.backend("numba"):
        y, state = cell(x, None, **options)
    ends = [y, *tree.leaves(state)]
    slopes = [torch.linspace(1, 2, t.numel(), dtype=t.dtype).view_as(t) for t in ends]
    return [t.detach() for t in (*ends, *torch.autograd.grad(ends, [x, *cell.parameters()], slopes))]


@pytest.mark.parametrize(("kind", "hidden"), CELLS)
def test_a_scan_of_few_rows(kind: Any, hidden: int, way: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    cell, x = kind(5, hidden), torch.randn(threads - 1, 9, 5)
    resets = torch.zeros(threads - 1, 9, dtype=torch.bool)
    resets[:, 4] = True
    for options in ({}, {"lengths": torch.tensor([7, 9][: threads - 1])}, {"resets": resets}):
        runs = []
        for wide in (1 << 60, 0):
            monkeypatch.setattr(column_parallel, "WIDE", wide)
            runs.append(scanned(cell, x, **options))
        assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize(("kind", "hidden"), CELLS)
def test_a_stream(kind: Any, hidden: int, way: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    cell, x = kind(5, hidden).eval(), torch.randn(20, 5)
    runs = []
    for wide in (1 << 60, 0):
        monkeypatch.setattr(column_parallel, "WIDE", wide)
        session = Session(cell)
        runs.append([torch.stack([session(row) for row in x[:10]]), session.push(x[10:]), *tree.leaves(session.state)])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_in_a_crowd_they_go_alone_for_a_while() -> None:
    crowd = column_parallel.Contention(3)
    crowd.note(given_way=50, steps=100)  # a few times is nothing
    assert not crowd.alone()
    crowd.note(given_way=500, steps=100)
    assert [crowd.alone() for _ in range(4)] == [True, True, True, False]


def test_waiting_in_a_crowd_changes_no_bit(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(column_parallel, "WIDE", 0)
    torch.manual_seed(0)
    cell, x = GRU(2, 16).eval(), torch.randn(300, 2)
    session = Session(cell)
    calm = torch.stack([session(row) for row in x])
    monkeypatch.setattr(column_parallel.ColumnShards, "given_way", lambda _: 1 << 20)
    session.reset()
    assert torch.equal(torch.stack([session(row) for row in x]), calm)
    with torch.no_grad(), kernels.backend("numba"):
        first, second = cell(x[None])[0], cell(x[None])[0]
    column_parallel.CONTENTION.left = 0
    assert torch.equal(first, second)


def test_many_meetings(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Who overtakes whom changes nothing, however often they meet."""
    monkeypatch.setattr(column_parallel, "WIDE", 0)
    torch.manual_seed(0)
    cell, x = GRU(2, 16).eval(), torch.randn(1, 20_000, 2)
    with torch.no_grad(), kernels.backend("numba"):
        together = cell(x)[0]
        monkeypatch.setattr(column_parallel, "WIDE", 1 << 60)
        assert torch.equal(together, cell(x)[0])
