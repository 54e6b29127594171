"""Jobs run once each, side by side where there are threads, and a forked child comes back."""

import ctypes
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ostinato.kernels.cpu.runtime import openmp, thread_team
from ostinato.kernels.cpu.runtime.thread_team import parallel_for

KIND = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_int64))
PATIENCE = 20  # seconds until a hang is one
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


class CFunction:
    """A Python function as the C function of a job."""

    def __init__(self, body: Callable[[Any], object]) -> None:
        self.kept = KIND(lambda integers: body(integers) and None)
        self.address = ctypes.cast(self.kept, ctypes.c_void_p).value or 0


@KIND
def square(integers):
    """Writes the square of its second integer where the first one points."""
    ctypes.c_int64.from_address(integers[0]).value += integers[1] ** 2


SQUARE = ctypes.cast(square, ctypes.c_void_p).value or 0


def squares(n: int) -> list[int]:
    """0, 1, 4, ... by n jobs; a job that ran twice shows."""
    out = (ctypes.c_int64 * n)()
    parallel_for([(SQUARE, (ctypes.addressof(out) + 8 * i, -i)) for i in range(n)])
    return list(out)


@pytest.fixture(params=["omp", "pool", "none"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, two_threads: None) -> Iterator[str]:
    monkeypatch.setenv("OSTINATO_TEAM", request.param)
    thread_team._chosen.cache_clear()
    if thread_team.team() != request.param:
        pytest.skip(f"torch has no {request.param} team here")
    yield request.param
    thread_team._chosen.cache_clear()


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 17])
def test_each_job_runs_once_with_its_own_integers(way: str, n: int) -> None:
    assert squares(n) == [i**2 for i in range(n)]


def test_jobs_may_have_different_functions_and_counts(way: str) -> None:
    seen: list[tuple[int, ...]] = []
    one = CFunction(lambda integers: seen.append((integers[0],)))
    three = CFunction(lambda integers: seen.append(tuple(integers[0:3])))
    none = CFunction(lambda integers: seen.append(()))
    parallel_for([(one, [-(2**63)]), (three, (1, 2, 2**63 - 1)), (none, ())])
    assert sorted(seen) == [(), (-(2**63),), (1, 2, 2**63 - 1)]


def test_jobs_run_side_by_side(way: str) -> None:
    """Two jobs meet at a barrier, which one after the other they cannot."""
    barrier, broken = threading.Barrier(2), []

    def meet(_: object) -> None:
        try:
            barrier.wait(timeout=0.2 if way == "none" else PATIENCE)
        except threading.BrokenBarrierError:
            broken.append(True)

    function = CFunction(meet)
    parallel_for([(function, ()), (function, ())])
    assert bool(broken) == (way == "none")


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_threads_than_torch_has(way: str, threads: int) -> None:
    torch.set_num_threads(threads)
    seen = set()
    function = CFunction(lambda _: (seen.add(threading.get_native_id()), time.sleep(0.01)))
    parallel_for([(function, ())] * 6)
    assert len(seen) <= (1 if way == "none" else threads)
    assert threading.get_native_id() in seen


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("way", ["omp"], indirect=True)
def test_the_threads_are_those_of_torch(way: str) -> None:
    torch.rand(1 << 20).exp()
    before = {int(name) for name in os.listdir("/proc/self/task")}  # noqa: PTH208
    barrier, seen = threading.Barrier(2), set()
    function = CFunction(lambda _: (barrier.wait(PATIENCE), seen.add(threading.get_native_id())))
    parallel_for([(function, ()), (function, ())])
    assert len(seen) == 2
    assert seen <= before


def test_two_threads_of_python_may_call_at_once(way: str) -> None:
    right: list[bool] = []

    def many() -> None:
        torch.set_num_threads(2)
        right.extend(squares(5) == [0, 1, 4, 9, 16] for _ in range(50))

    callers = [threading.Thread(target=many) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert right == [True] * 150


def in_child(body: Callable[[], bool]) -> bool:
    """What the body says in a forked child; False if it does not come back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: this process has threads, as it should
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if body() else 1
        finally:
            os._exit(code)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@FORKS
def test_a_forked_child_works_and_so_does_its_parent(way: str) -> None:
    assert squares(4) == [0, 1, 4, 9]
    assert in_child(lambda: squares(4) == [0, 1, 4, 9])
    assert in_child(lambda: in_child(lambda: squares(3) == [0, 1, 4]))
    assert squares(4) == [0, 1, 4, 9]


@FORKS
def test_a_forked_child_says_which_way_it_goes(way: str) -> None:
    assert in_child(lambda: thread_team.team() == ("none" if way == "omp" else way))


class Sums(Dataset[int]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, n: int) -> int:
        return sum(squares(n))


@FORKS
def test_a_data_loader_with_workers_works(way: str) -> None:
    assert squares(3) == [0, 1, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loader = DataLoader(Sums(), batch_size=3, num_workers=2, multiprocessing_context="fork", timeout=PATIENCE)
        assert [batch.tolist() for batch in loader] == [[0, 0, 1], [5, 14, 30]]


@pytest.mark.parametrize("way", ["pool"], indirect=True)
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system cannot signal one thread")
def test_an_interrupt_waits_for_the_jobs(way: str) -> None:
    """Who is interrupted frees the memory that a thread would still write to."""
    started, finished = threading.Event(), []

    def slow(_: object) -> None:
        started.set()
        time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.1)
        finished.append(True)

    first = CFunction(lambda _: started.wait(PATIENCE))
    second = CFunction(slow)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            parallel_for([(first, ()), (second, ())])
    finally:
        signal.signal(signal.SIGINT, before)
    assert finished == [True]


def test_an_unknown_way_is_refused(monkeypatch: pytest.MonkeyPatch, two_threads: None) -> None:
    monkeypatch.setenv("OSTINATO_TEAM", "tbb")
    thread_team._chosen.cache_clear()
    with pytest.raises(ValueError, match="OSTINATO_TEAM must be one of omp, pool, none, and is 'tbb'"):
        squares(2)


def test_without_openmp_there_is_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSTINATO_TEAM", raising=False)
    monkeypatch.setattr(openmp, "_openmp", lambda: (None, 0, 0))
    for cached in (openmp._library, thread_team._chosen):
        cached.cache_clear()
    try:
        assert thread_team.team() == "pool"
        assert squares(3) == [0, 1, 4]
    finally:
        for cached in (openmp._library, thread_team._chosen):
            cached.cache_clear()


@pytest.mark.parametrize("way", ["omp"], indirect=True)
def test_what_is_no_integer_is_refused(way: str) -> None:
    with pytest.raises(TypeError):
        parallel_for([(SQUARE, (1.5,))])  # pyright: ignore[reportArgumentType]
    with pytest.raises(OverflowError):
        parallel_for([(SQUARE, (2**63,))])
