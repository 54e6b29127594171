"""First uses by many threads at once, and in a forked child. Oracle: one thread."""

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from test_thread_team import FORKS, in_child

from ostinato import kernels
from ostinato.cells import GRU
from ostinato.kernels.cpu.gemm import column_parallel
from ostinato.kernels.scan import scan
from ostinato.recurrence import Recurrence
from ostinato.stream import Session

FIRST = """
    import sys, threading
    from concurrent.futures import ThreadPoolExecutor
    import torch
    from ostinato import kernels
    from ostinato.kernels.scan import scan
    from ostinato.recurrence import Recurrence
    sys.setswitchinterval(1e-5)
    makes = scan._derive
    count = []
    scan._derive = lambda *given: count.append(1) or makes(*given)
    steps = [
        Recurrence("a", lambda g, s: (g, g), lambda d, s, w: torch.tanh(d + s @ w)),
        Recurrence("b", lambda g, s: (g * s, g), lambda d, s, w: torch.sigmoid(d + s @ w)),
    ]
    d, s, w = torch.randn(3, 5, 4).double(), torch.randn(3, 4).double(), torch.randn(4, 4).double().requires_grad_()
    def use(k):
        gate.wait()
        with kernels.backend("numba"):
            out, last = steps[k % 2].scan(d, s, w)
        return out.detach(), last.detach(), torch.autograd.grad(out.sum() + last.sum(), w)[0]
    gate = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(use, range(8)))
    for k, mine in enumerate(got):
        with kernels.backend("reference"):
            out, last = steps[k % 2].scan(d, s, w)
        want = out, last, torch.autograd.grad(out.sum() + last.sum(), w)[0]
        for a, b in zip(mine, want):
            torch.testing.assert_close(a, b)
    assert not torch.is_anomaly_enabled()
    print(len(count))
"""


def test_eight_threads_compile_their_first_kernels(tmp_path: Path) -> None:
    """Each of two steps is derived once, in a process that knows none and has no cache."""
    environment = {**os.environ, "OSTINATO_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(FIRST)]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2"


def test_a_step_that_scans_inside_is_derived_without_waiting_for_itself() -> None:
    """The inner scan is asked for while the outer one is derived: it is told so, and nobody waits."""
    scan._HERE.derives = True
    try:
        inner = Recurrence("inner", lambda d, s: (d + s, d + s))
        assert "part of a step that is being derived" in inner.explain(torch.randn(3, 5, 4), torch.randn(3, 4))
    finally:
        scan._HERE.derives = False


def test_backends_forced_by_many_threads_are_all_left() -> None:
    before, interval = kernels.forced(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def force(k: int) -> bool:
        name = ("reference", "numba")[k % 2]
        for _ in range(2000):
            with kernels.backend(name):
                if kernels.forced() != name:
                    return False
        return True

    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(force, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert kernels.forced() == before and not kernels.dispatch._forced_in_graphs


@pytest.fixture
def two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@FORKS
@pytest.mark.parametrize("what", ["a scan", "gradients", "a session that goes on", "a new session"])
def test_large_weights_in_a_forked_child(what: str, two_threads: None) -> None:
    """Torch's own copies of such weights would wait for the parent's threads; oracle: the parent."""
    torch.manual_seed(0)
    cell, x = GRU(512, 512).eval(), torch.randn(1, 4, 512)
    session = Session(cell)

    def use() -> torch.Tensor:
        with kernels.backend("numba"):
            if what == "a scan":
                with torch.no_grad():
                    return cell(x)[0]
            if what == "gradients":
                return torch.autograd.grad(cell(x)[0].sum(), cell.w_rec)[0]
        one = session if what == "a session that goes on" else Session(cell)
        one.reset()
        return one.push(x[0])

    assert column_parallel.pays([cell.w_rec])
    want = use()
    assert in_child(lambda: torch.get_num_threads() == 1 and torch.allclose(use(), want, atol=1e-6))
    assert torch.equal(use(), want) and torch.get_num_threads() == 2


@FORKS
def test_a_fork_while_another_thread_derives() -> None:
    """The child has not that thread, and waits for nobody."""
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with scan._LOCK:
            held.set()
            go_on.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    fresh = Recurrence("fresh", lambda d, s: (d * s, d - s))
    d, s = torch.randn(3, 5, 4), torch.randn(3, 4)

    def use() -> bool:
        with kernels.backend("numba"):
            got = fresh.scan(d, s)[0]
        with kernels.backend("reference"):
            return torch.allclose(got, fresh.scan(d, s)[0])

    alone = in_child(use)
    go_on.set()
    holder.join()
    assert alone
