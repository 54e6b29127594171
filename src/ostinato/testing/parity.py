"""Kernels against the reference loop."""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from .. import kernels, tree
from ..recurrent import Layer
from .cases import TOLERANCE, case, distance, gradients, sequence


def parity_rows(make: Callable[[], Layer], d_in: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """How far each backend is from the reference loop in float64, one row a backend and dtype.

    A row: {"backend", "dtype", "out", "state", "gradients", "ok"}. The numbers are the largest errors, relative to
    the largest value, over T = 63 and 1, ragged rows with a length 0, strided input, resets and fresh memory full of
    NaN; "ok" says whether all lie within `TOLERANCE`.
    A backend that refuses the part has no row; "reference" shows what rounding alone does.
    """
    part = case(make, d_in, seed=seed).part
    return [row for dtype in (torch.float32, torch.float64) for row in compare(part, d_in, None, dtype)]


def parity_table(factories: Mapping[str, Callable[[], Layer]], d_in: int = 5) -> list[dict[str, Any]]:
    """`parity_rows` of each part in a mapping of names to factories, with the name as "cell".

    >>> from ostinato.cells import cells
    >>> rows = parity_table({name: lambda make=make: make(5, 7) for name, make in cells.items()})
    >>> all(row["ok"] for row in rows)
    True
    """
    return [{"cell": name, **row} for name, make in factories.items() for row in parity_rows(make, d_in)]


def compare(part: Layer, d_in: int, ids: int | None, dtype: torch.dtype) -> Iterator[dict[str, Any]]:
    """The rows of one part in one dtype; the oracle is the walk in float64."""
    part, exact = copy.deepcopy(part).to(dtype), copy.deepcopy(part).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        calls = [_call(exact, d_in, ids, dtype, *shape) for shape in _SHAPES]
    for name in kernels.backends():
        worst: dict[str, float] = {}
        for x, state, options, (values, slopes) in calls:
            try:
                with kernels.backend(name), _poisoned():
                    (y, after), got = gradients(part, x, state, **options)
            except kernels.BackendError:  # the next call may be one that it takes
                continue
            for key, pair in {"out": (y, values[0]), "state": (after, values[1]), "gradients": (got, slopes)}.items():
                worst[key] = max(worst.get(key, 0.0), distance(*pair))
        if worst:
            ok = max(worst.values()) <= TOLERANCE[dtype]
            yield {"backend": name, "dtype": str(dtype).removeprefix("torch."), **worst, "ok": ok}


# (T, lengths, with resets)
_SHAPES = (
    (63, None, False),
    (63, (63, 20, 1, 0), False),
    (1, None, False),
    (1, (1, 0, 1, 1), False),
    (63, None, True),
    (63, (63, 20, 1, 0), True),
)


def _call(exact: Layer, d_in: int, ids: int | None, dtype: torch.dtype, steps: int, lengths: Any, cut: bool) -> Any:
    """(x, state, options, what the walk in float64 makes of them)"""
    x = sequence(steps, d_in, ids, dtype).transpose(0, 1).contiguous().transpose(0, 1)  # [B, T, D] strided
    options = {} if lengths is None else {"lengths": torch.tensor(lengths)}
    if cut:
        options["resets"] = torch.rand(4, steps) < 0.1
    with kernels.backend(kernels.REFERENCE):
        with torch.no_grad():
            state = exact(sequence(3, d_in, ids, torch.float64))[1]
        # Both start from the same numbers: those that the dtype can hold.
        state = tree.map(lambda s: s.to(dtype) if s.is_floating_point() else s, state)
        wide = tree.map(lambda s: s.double() if s.is_floating_point() else s, state)
        return x, state, options, gradients(exact, x if ids is not None else x.double(), wide, **options)


@contextmanager
def _poisoned() -> Iterator[None]:
    """torch.empty gives NaN: a kernel that reads memory before writing it is found out."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
