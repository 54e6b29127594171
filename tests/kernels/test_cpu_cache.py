"""A kernel compiled once is found by the next process, and nothing stale ever is."""

import os
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pytest
from kept import FLOAT32, PLUS, forget, gives, hits, home, plus
from numba.core import config

from ostinato.kernels.cpu import cache
from ostinato.kernels.cpu.cache import entry, load
from ostinato.kernels.cpu.team import together

AXPY = f"""
def axpy(n, x, y):
    x, y = ptr(x), ptr(y)
    for j in range(0, n, {FLOAT32.count}):
        store_n(y, j, load_n(y, j, n - j) + v_relu(load_n(x, j, n - j)), n - j)
"""
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
pytestmark = pytest.mark.usefixtures(home.__name__)


def forked(body: Callable[[], bool]) -> int:
    """A child that ends with 0 if the body says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: this process has threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if body() else 1
        finally:
            os._exit(code)
    return child


def test_a_kernel_does_what_its_source_says() -> None:
    x, y = np.linspace(-1, 1, 37, dtype=np.float32), np.ones(40, np.float32)
    loaded = load(AXPY, "axpy", FLOAT32.scope)
    together([(loaded, (37, x.ctypes.data, y.ctypes.data))])
    np.testing.assert_array_equal(y, [*(1 + np.maximum(x, 0)), 1, 1, 1])
    assert AXPY.strip() in loaded.source and loaded.file and loaded.file.read_text() == loaded.source


def test_it_is_loaded_once_in_a_process() -> None:
    assert plus(1) is plus(1)


def test_the_next_load_takes_the_machine_code_from_disk() -> None:
    first = plus(1)
    forget()
    again = plus(1)
    assert (hits(first), hits(again)) == (0, 1)
    assert gives(first, 4) == gives(again, 4) == 5.0


def test_another_process_finds_it() -> None:
    code = f"""
        from ostinato.kernels.cpu.cache import load
        from ostinato.kernels.cpu.lanes import lanes
        load({AXPY!r}, "axpy", lanes("float32").scope)
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert hits(load(AXPY, "axpy", FLOAT32.scope)) == 1


@FORKS
def test_processes_may_compile_at_once() -> None:
    children = [forked(lambda: gives(plus(1), 4) == 5.0) for _ in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert hits(plus(1)) == 1


def test_another_source_name_or_scope_is_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gives(plus(1), 4) == 5.0
    assert gives(plus(2), 4) == 6.0
    text = "def f(out, a):\n    store1(ptr(out), 0, num(a + extra))\n"
    assert [gives(load(text, "f", {**FLOAT32.scope, "extra": extra}), 4) for extra in (3, 10)] == [7.0, 14.0]
    both = PLUS.format(1) + "\n\ndef minus(out, a):\n    store1(ptr(out), 0, num(a - 1))\n"
    assert [gives(load(both, name, FLOAT32.scope), 4) for name in ("plus", "minus")] == [5.0, 3.0]


@pytest.mark.parametrize("change", ["versions", "lanes"])
def test_what_was_compiled_for_something_else_is_not_found(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plus(1)
    forget()
    if change == "versions":
        ground = cache._ground()
        monkeypatch.setattr(cache, "_ground", lambda: (*ground, "newer"))
    else:
        monkeypatch.setenv("OSTINATO_LANES", "2")
    assert hits(plus(1)) == 0


@numba.njit
def double(out, a):
    FLOAT32_STORE(FLOAT32_PTR(out), 0, np.float32(2 * a))


FLOAT32_STORE, FLOAT32_PTR = FLOAT32.scope["store1"], FLOAT32.scope["ptr"]


def test_a_function_of_integers_becomes_a_c_function() -> None:
    first = entry(double, 2)
    assert gives(first, 21) == 42.0
    assert entry(double, 2) is first and entry(first, 2) is first
    out = np.zeros(2, np.float32)
    together([(double, (out.ctypes.data + 4 * i, i + 1)) for i in range(2)])
    assert out.tolist() == [2.0, 4.0]
    forget()
    assert hits(entry(double, 2)) == 1


def test_a_division_by_zero_does_not_stop_the_process() -> None:
    text = "def f(out, a):\n    store1(ptr(out), 0, num(1.0 / a))\n"
    assert gives(load(text, "f", FLOAT32.scope), 0) == np.inf


def test_a_source_without_the_function_is_refused() -> None:
    with pytest.raises(ValueError, match="the source must define the function 'minus', and does not"):
        load(PLUS.format(1), "minus", FLOAT32.scope)


@pytest.mark.parametrize("what", ["*/*.nbi", "*/*.nbc"])
@pytest.mark.parametrize("torn", [b"", b"garbage", pickle.dumps("0.0")])
def test_torn_machine_code_is_made_again(home: Path, what: str, torn: bytes) -> None:
    plus(1)
    forget()
    (file,) = home.glob(what)
    file.write_bytes(torn)
    assert gives(plus(1), 4) == 5.0
    forget()
    assert hits(plus(1)) == 1


def test_numbas_own_options_do_not_lead_elsewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "shared"))
    plus(1)
    assert getattr(config, "CACHE_DIR") == str(tmp_path / "shared")  # noqa: B009, Numba makes it at run time
    assert not (tmp_path / "shared").exists()
    assert len(list(home.rglob("*.nbc"))) == 1


@FORKS
def test_a_forked_child_loads_too() -> None:
    """Even where another thread of its parent was just loading."""
    plus(1)
    locked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with cache._LOCK:
            locked.set()
            go_on.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(20)
    child = forked(lambda: (forget(), gives(plus(1), 4), gives(plus(2), 4)) == (None, 5.0, 6.0))
    go_on.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0
