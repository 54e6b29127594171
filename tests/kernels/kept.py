"""Small kernels in a cache directory of the test's own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.kernels.cpu.runtime import compile_cache as cache
from ostinato.kernels.cpu.runtime.compile_cache import Loaded, Scope, load
from ostinato.kernels.cpu.runtime.thread_team import parallel_for
from ostinato.kernels.cpu.simd.names import kernel
from ostinato.kernels.cpu.simd.width import lanes

COUNT = lanes("float32").count
FLOAT32 = Scope("ostinato.kernels.cpu.simd.names", "kernel", ("float32", COUNT))
PLUS = "def plus(out, a):\n    store1(ptr(out), 0, num(a + {}))\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache directory that is new, and a process that has loaded nothing."""
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    forget()
    yield tmp_path / "cache" / "kernels"
    forget()


def with_lanes(count: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For a fixture: vectors of so many lanes, or those of the "host"."""
    if count != "host":
        monkeypatch.setenv("OSTINATO_LANES", count)
    lanes.cache_clear()
    yield
    lanes.cache_clear()


def forget() -> None:
    for known in (cache._LOADED, cache._BY_SOURCE, cache._WARNED):
        known.clear()


def plus(number: int) -> Loaded:
    return load(PLUS.format(number), "plus", FLOAT32)


def names(extra: int) -> Mapping[str, Any]:
    """The names of a scope of the test's own."""
    return {**kernel("float32", COUNT), "extra": extra}


def gives(loaded: Loaded, a: int) -> float:
    out = np.zeros(1, np.float32)
    parallel_for([(loaded, (out.ctypes.data, a))])
    return float(out[0])


def hits(loaded: Loaded) -> int:
    """How often the disk had it: 0 or 1."""
    return int(loaded.kept)
