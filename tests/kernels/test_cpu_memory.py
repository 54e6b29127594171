"""Memory is used again, and never while anything still looks at it."""

import gc
import math
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ostinato.kernels.cpu.runtime import memory
from ostinato.kernels.cpu.runtime.memory import empty

SIDE = 600  # SIDE x SIDE float32 numbers are more than a MiB
pytestmark = pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="torch's own memory is used here")


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    memory.release()
    yield
    memory.release()


def block(value: float = 1.0) -> Tensor:
    return empty((SIDE, SIDE), torch.float32).fill_(value)


def keeps(look: Callable[[Tensor], Any], value: Callable[[Any], float]) -> None:
    """What `look` makes of a block is not written over while it lives, and afterwards the memory is used again."""
    made = block(2.0)
    at, seen = made.data_ptr(), look(made)
    del made
    others = [block(7.0) for _ in range(3)]
    assert at not in [other.data_ptr() for other in others]
    assert value(seen) == 2.0
    del seen
    assert block().data_ptr() == at


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_shape_and_dtype_are_those_asked_for(dtype: torch.dtype) -> None:
    made = empty((7, 601, 700), dtype)
    assert made.shape == (7, 601, 700) and made.dtype is dtype and made.is_contiguous() and made.device.type == "cpu"
    assert made.data_ptr() % 4096 == 0
    assert made.untyped_storage().nbytes() == made.numel() * dtype.itemsize
    made.fill_(1)
    assert bool((made == 1).all())


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (1 << 18,), ((1 << 18) - 1,)])
def test_small_and_empty_shapes_work(shape: tuple[int, ...]) -> None:
    made = empty(shape, torch.float32)
    assert made.shape == shape and made.fill_(3.0).sum() == 3 * math.prod(shape)


def test_memory_is_used_again() -> None:
    at = block().data_ptr()
    assert memory.idle() > 0
    for _ in range(3):
        assert block().data_ptr() == at


def test_a_larger_block_serves_a_little_less_only() -> None:
    at = empty((10 << 20,), torch.uint8).data_ptr()
    assert empty((9 << 20,), torch.uint8).data_ptr() == at
    assert empty((2 << 20,), torch.uint8).data_ptr() != at
    assert empty((11 << 20,), torch.uint8).data_ptr() != at


def test_a_view_keeps_it() -> None:
    keeps(lambda t: t[3:5].T[1:], lambda v: v.max().item())
    keeps(lambda t: t.detach(), lambda v: v.max().item())
    keeps(lambda t: t.view(torch.int32), lambda v: v.view(torch.float32).max().item())
    keeps(lambda t: torch.as_strided(t, (2,), (SIDE,)), lambda v: v.max().item())


def test_its_storage_keeps_it() -> None:
    keeps(lambda t: t.untyped_storage(), lambda s: torch.tensor([], dtype=torch.float32).set_(s).max().item())


def test_a_numpy_array_keeps_it() -> None:
    keeps(lambda t: t.numpy()[1:], lambda a: float(np.max(a)))
    keeps(lambda t: t.numpy().reshape(-1).data, lambda m: float(np.frombuffer(m, np.float32).max()))


def test_what_autograd_saved_keeps_it() -> None:
    x = torch.ones(SIDE, SIDE, requires_grad=True)

    def gradient(y: Tensor) -> float:
        return torch.autograd.grad(y, x, retain_graph=True)[0].max().item()

    keeps(lambda t: (x * t).sum(), gradient)
    keeps(lambda t: (x * t[:, :1].expand(SIDE, SIDE)).sum(), gradient)


def test_what_a_function_of_autograd_saved_keeps_it() -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            scale = block(2.0)
            out = block()
            torch.mul(x, scale, out=out)
            ctx.save_for_backward(scale, out)
            return out

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            scale, out = ctx.saved_tensors
            assert out.max() == 2.0
            return dy * scale

    x = torch.ones(SIDE, SIDE, requires_grad=True)
    out: Any = Twice.apply(x)
    loss = out.sum()
    del out
    others = [block(7.0) for _ in range(3)]
    loss.backward()
    assert x.grad is not None and x.grad.max() == 2.0 and others[0].max() == 7.0


def test_the_gradient_graph_is_freed_with_its_output() -> None:
    x = torch.ones(SIDE, SIDE, requires_grad=True)
    (x * block()).sum().backward()
    gc.disable()
    try:
        x.grad = None
        assert memory.idle() >= 4 * SIDE * SIDE
    finally:
        gc.enable()


def test_threads_never_share_a_block() -> None:
    """Each thread marks its blocks, hands half of them to another thread to free, and finds its marks again."""
    wrong, handed = [], []

    def work(mark: int) -> None:
        for n in range(100):
            mine = [empty((300_000,), torch.int32).fill_(1000 * mark + n) for _ in range(2)]
            handed.append(mine.pop())
            if len(handed) > 4:
                handed.pop(0)
            if not bool((mine[0] == 1000 * mark + n).all()):
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_it_is_freed_from_any_thread() -> None:
    kept = [block()]
    at = kept[0].data_ptr()
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    assert block().data_ptr() == at


def test_the_last_reference_may_end_inside_a_call() -> None:
    """The garbage collector runs anywhere, so also where the list of blocks is locked."""
    kept = [block()]
    at = kept[0].data_ptr()
    with memory._IDLE.lock:
        kept.clear()
    assert block().data_ptr() == at


def test_idle_memory_is_bounded_and_the_longest_idle_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory._IDLE, "largest", 9 << 20)
    made = [empty((n << 20,), torch.uint8) for n in (2, 4, 6)]
    at = [t.data_ptr() for t in made]
    for _ in range(3):
        del made[0]
    assert memory.idle() == 6 << 20
    assert empty((6 << 20,), torch.uint8).data_ptr() == at[2]


def test_release_gives_all_back() -> None:
    block()
    assert memory.idle() > 0
    memory.release()
    assert memory.idle() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Python 3.12: this process has threads
def test_a_forked_child_writes_into_its_own_copy() -> None:
    """While another thread holds the lock, which the child must not wait for."""
    mine = block(2.0)
    idle_at = block().data_ptr()
    with memory._IDLE.lock:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                mine.fill_(5.0)
                code = 0 if block(6.0).data_ptr() == idle_at and mine.max() == 5.0 else 1
            finally:
                os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert mine.min() == mine.max() == 2.0


def test_without_huge_pages_it_is_plain_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE")
    assert block(3.0).sum() == 3.0 * SIDE * SIDE
    assert memory.idle() == 0
