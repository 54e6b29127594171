"""Which scan runs: the reference loop, or a kernel that does the same faster.

A forced backend never falls back in silence, and `explain` says what would run and why not the others.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from .. import tree
from ..registry import near
from .cpu import backend as _cpu  # noqa: F401 - fills TABLE
from .table import TABLE, Call, Kernel, computed, find
from .torch import aten as aten  # fills TABLE

REFERENCE = "reference"
# Fastest first, as measured by `python -m benchmarks`; what is not listed here runs only when forced.
PREFERENCE: dict[str, tuple[str, ...]] = {"cpu": ("numba", "aten"), "cuda": ("aten",)}
_forced: ContextVar[str | None] = ContextVar("backend", default=None)


# The same for code that is compiled: Dynamo follows no ContextVar, but a list, and compiles anew when it has changed.
_forced_in_graphs: list[str] = []
_FORCING = threading.Lock()  # of who writes to that list, where nothing is compiled


class BackendError(RuntimeError):
    """A backend was forced on a call that it refuses."""


def backends() -> tuple[str, ...]:
    """The names that `backend()` takes."""
    return (REFERENCE, *sorted({name for _, name in TABLE}))


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Forces one backend inside a `with` block: "reference" (the loop that defines the result), "aten", ...

    Raises:
        ValueError: no backend has that name.
        BackendError: inside the block, from a scan which that backend refuses, with its reason.
    """
    if name not in backends():
        raise ValueError(f"no backend is called {name!r}{near(name, backends())}")
    token = None if torch.compiler.is_compiling() else _forced.set(name)
    alone = nullcontext() if token is None else _FORCING
    with alone:
        _forced_in_graphs.append(name)
    try:
        yield
    finally:
        # The last of that name, wherever it is: other threads come and go too.
        with alone:
            _forced_in_graphs.pop(-1 - _forced_in_graphs[::-1].index(name))
        if token is not None:
            _forced.reset(token)


def forced() -> str | None:
    """The backend that a `with backend(...)` around this code forces; in code that is compiled, in any thread."""
    if torch.compiler.is_compiling():
        return _forced_in_graphs[-1] if _forced_in_graphs else None
    return _forced.get()


def why_not(recurrence: Any, name: str, *call: Any, **options: Any) -> str | None:
    """Why backend `name` cannot run this call of a recurrence, in words; None when it can."""
    kernel = find(recurrence, name)
    if kernel is None:
        has = ", ".join(sorted(r for r, b in TABLE if b == name)) or "none"
        return f"it has no {recurrence.name} kernel (it has: {has})"
    return kernel.refuses(*call, **options)


def choose(recurrence: Any, drive: Any, state: Any, *weights: Any, **options: Any) -> Kernel | None:
    """The kernel to run, or None for the reference loop.

    Raises:
        BackendError: a forced backend refuses.
    """
    asked = forced()
    if asked == REFERENCE:
        return None
    for name in (asked,) if asked else _order(recurrence, drive):
        reason = why_not(recurrence, name, drive, state, *weights, **options)
        if reason is None:
            return find(recurrence, name)
        if asked:
            raise BackendError(f"backend {asked!r} was asked for {recurrence.name}, but {reason}")
    return None


def explain(recurrence: Any, drive: Any, state: Any, *weights: Any, **options: Any) -> str:
    """One line a backend: which runs this call, and why the others do not."""
    device = _device(drive)
    order = _order(recurrence, drive)
    lines = []
    if chosen := forced():
        lines.append(f"{chosen}: forced by backend({chosen!r})")
    for name in (*order, *(b for b in backends() if b not in order and b != REFERENCE)):
        if name == chosen:
            continue
        reason = why_not(recurrence, name, drive, state, *weights, **options)
        if reason is not None:
            lines.append(f"{name}: not chosen, {reason}")
        elif chosen is None and name in order:
            chosen = name
            lines.append(f"{name}: chosen, the fastest that takes this call on {device}")
        else:
            lines.append(f"{name}: could run, {chosen or REFERENCE} comes first")
    if chosen is None:
        lines.append(f"{REFERENCE}: chosen, the step-by-step loop (no kernel takes this call)")
    elif chosen != REFERENCE:
        lines.append(f"{REFERENCE}: could run, it is the oracle of {chosen}")
    return "\n".join(lines)


def run(kernel: Kernel, call: Call) -> tuple[Tensor, Any]:
    """Runs a kernel and gives (out, state) back, the state in its own structure."""
    out, final = kernel.scan(*call.arguments, **call.options)
    return out, tree.like(call.state, final)


def at_once(calls: Sequence[Call]) -> list[tuple[Tensor, Any]] | None:
    """(out, state) of each call, where one backend runs all of them at once; None where none does."""
    chosen = [choose(call.recurrence, *call.arguments, **call.options) for call in calls]
    kinds = {None if kernel is None else kernel.scans for kernel in chosen}
    scans = kinds.pop()
    if kinds or scans is None:
        return None
    return [(out, tree.like(call.state, last)) for call, (out, last) in zip(calls, scans(calls), strict=True)]


def _order(recurrence: Any, drive: Any) -> tuple[str, ...]:
    """The backends to ask, the fastest first, without those that gain nothing on this drive."""
    kernels = ((name, find(recurrence, name)) for name in PREFERENCE.get(_device(drive), ()))
    return tuple(name for name, kernel in kernels if kernel is None or kernel.pays is None or kernel.pays(drive))


def _device(drive: Any) -> str:
    return tree.leaves(drive)[0].device.type


__all__ = [
    "REFERENCE",
    "BackendError",
    "at_once",
    "backend",
    "backends",
    "choose",
    "computed",
    "explain",
    "forced",
    "run",
    "why_not",
]
