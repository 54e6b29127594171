"""Python's own functions, where a tracer has put others in their place."""

import builtins
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_OWN: list[tuple[Any, str, Any]] = [(builtins, "max", max), (builtins, "min", min), (math, "pow", math.pow)]


@contextmanager
def own_functions() -> Iterator[None]:
    """As they were when this was imported. torch.export replaces them, and Numba takes for good what it meets first."""
    found = [(module, name, getattr(module, name)) for module, name, _ in _OWN]
    _set(_OWN)
    try:
        yield
    finally:
        _set(found)


def _set(functions: list[tuple[Any, str, Any]]) -> None:
    for module, name, function in functions:
        setattr(module, name, function)
