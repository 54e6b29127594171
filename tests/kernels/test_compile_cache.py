"""A kernel compiled once is found by the next process, and nothing stale ever is."""

import math
import os
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
from kept import COUNT, FLOAT32, PLUS, forget, gives, hits, home, plus
from numba.core import config

from ostinato.kernels.cpu.runtime import compile_cache as cache
from ostinato.kernels.cpu.runtime import object_code
from ostinato.kernels.cpu.runtime.compile_cache import Scope, entry, load
from ostinato.kernels.cpu.runtime.thread_team import parallel_for
from ostinato.kernels.cpu.simd.width import lanes

AXPY = f"""
def axpy(n, x, y):
    x, y = ptr(x), ptr(y)
    for j in range(0, n, {COUNT}):
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
    loaded = load(AXPY, "axpy", FLOAT32)
    parallel_for([(loaded, (37, x.ctypes.data, y.ctypes.data))])
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


def said(code: str) -> str:
    """What another process prints that runs this without a warning."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, timeout=300, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_another_process_finds_it() -> None:
    code = f"""
        from ostinato.kernels.cpu.runtime.compile_cache import Scope, load
        load({AXPY!r}, "axpy", {FLOAT32!r})
    """
    said(code)
    assert hits(load(AXPY, "axpy", FLOAT32)) == 1


@FORKS
def test_processes_may_compile_at_once() -> None:
    children = [forked(lambda: gives(plus(1), 4) == 5.0) for _ in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert hits(plus(1)) == 1


def test_another_source_name_or_scope_is_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gives(plus(1), 4) == 5.0
    assert gives(plus(2), 4) == 6.0
    text = "def f(out, a):\n    store1(ptr(out), 0, num(a + extra))\n"
    assert [gives(load(text, "f", Scope("kept", "names", (extra,))), 4) for extra in (3, 10)] == [7.0, 14.0]
    both = PLUS.format(1) + "\n\ndef minus(out, a):\n    store1(ptr(out), 0, num(a - 1))\n"
    assert [gives(load(both, name, FLOAT32), 4) for name in ("plus", "minus")] == [5.0, 3.0]


@pytest.mark.parametrize("change", ["versions", "lanes"])
def test_what_was_compiled_for_something_else_is_not_found(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plus(1)
    forget()
    if change == "versions":
        ground = cache._ground()
        monkeypatch.setattr(cache, "_ground", lambda: (*ground, "newer"))
    else:
        monkeypatch.setenv("OSTINATO_LANES", "2")
    lanes.cache_clear()
    assert hits(plus(1)) == 0
    lanes.cache_clear()


FLOAT32_STORE, FLOAT32_PTR = (FLOAT32.names()[name] for name in ("store1", "ptr"))


@numba.njit
def double(out, a):
    FLOAT32_STORE(FLOAT32_PTR(out), 0, np.float32(2 * a))


def test_a_function_of_integers_becomes_a_c_function() -> None:
    first = entry(double, 2)
    assert gives(first, 21) == 42.0
    assert entry(double, 2) is first and entry(first, 2) is first
    out = np.zeros(2, np.float32)
    parallel_for([(double, (out.ctypes.data + 4 * i, i + 1)) for i in range(2)])
    assert out.tolist() == [2.0, 4.0]
    forget()
    assert hits(entry(double, 2)) == 1


def test_a_division_by_zero_does_not_stop_the_process() -> None:
    text = "def f(out, a):\n    store1(ptr(out), 0, num(1.0 / a))\n"
    assert gives(load(text, "f", FLOAT32), 0) == np.inf


def test_a_source_without_the_function_is_refused() -> None:
    with pytest.raises(ValueError, match="the source must define the function 'minus', and does not"):
        load(PLUS.format(1), "minus", FLOAT32)


@pytest.mark.parametrize("how", ["empty", "garbage", "short", "a bit", "no line", "another line"])
def test_torn_machine_code_is_made_again(home: Path, how: str) -> None:
    plus(1)
    forget()
    (file,) = home.glob("*.o")
    whole = file.read_bytes()
    code, _, line = whole.rpartition(b"\n")
    torn = {
        "empty": b"", "garbage": b"garbage", "short": whole[1000:], "no line": code, "another line": code + b"\n[1]",
        "a bit": bytes([*whole[:999], whole[999] ^ 1, *whole[1000:]]),
    }  # fmt: skip
    file.write_bytes(torn[how])
    again = plus(1)
    assert gives(again, 4) == 5.0 and hits(again) == 0
    forget()
    assert hits(plus(1)) == 1 and line


def test_machine_code_that_calls_what_is_not_here_is_made_again(home: Path) -> None:
    plus(1)
    forget()
    (file,) = home.glob("*.o")
    source = file.with_suffix(".py").read_text()
    found = object_code.read(file, source)
    assert found and found.calls == ()
    object_code.write(file, found._replace(calls=("a_function_that_nobody_has",)), source)
    again = plus(1)
    assert gives(again, 4) == 5.0 and hits(again) == 0


ERF = "def f(out, a):\n    store1(ptr(out), 0, num(math.erf(a / 4)))\n"


def test_machine_code_may_call_the_c_library() -> None:
    loaded = load(ERF, "f", FLOAT32)
    forget()
    again = load(ERF, "f", FLOAT32)
    assert gives(loaded, 1) == gives(again, 1) == np.float32(math.erf(0.25)) and hits(again) == 1


def test_numba_keeps_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "shared"))
    plus(1)
    assert not (tmp_path / "shared").exists()
    assert sorted(path.suffix for path in home.rglob("*")) == [".o", ".py"]


@pytest.mark.parametrize("option", ["OPT", "CPU_NAME", "ENABLE_AVX"])
def test_options_for_numba_are_part_of_what_a_kernel_is_known_by(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same whether Numba is imported or not."""
    ground = cache._ground.__wrapped__
    late = ground()
    monkeypatch.delitem(sys.modules, "numba.core.config")
    assert ground() == late
    monkeypatch.setenv(f"NUMBA_{option}", "1")
    assert ground() != late


def test_what_a_program_sets_in_numba_is_part_of_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache._ground.__wrapped__()
    monkeypatch.setattr(config, "OPT", 1)
    assert cache._ground.__wrapped__() != before


USE = """
    import sys, torch
    from ostinato import kernels
    from ostinato.cells import LSTM
    from ostinato.stream import Session
    torch.manual_seed(0)
    cell, x = LSTM(5, 7), torch.randn(3, 4, 5)
    with kernels.backend("numba"):
        y, state = cell(x)
    y.square().sum().backward()
    got = [y, *state, *(p.grad for p in cell.parameters()), Session(cell.eval())(x[0, 0])]
    print([t.tolist() for t in got], "numba" in sys.modules)
"""


def test_a_known_cell_needs_no_numba_and_computes_the_same_bits() -> None:
    """Oracle: the process that compiled."""
    made, told = said(USE).rsplit(" ", 1)
    again, told_again = said(USE).rsplit(" ", 1)
    assert (told, told_again) == ("True", "False")
    assert made == again


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
