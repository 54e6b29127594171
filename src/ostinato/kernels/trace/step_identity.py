"""What stands for a step and all it reads besides its arguments: a kernel is right while that stays the same.

A function reads its code, its defaults, the cells it closes over, the globals it names, and as a method what it names
of `self`; then the same of each function it calls. The first look walks all that and notes what stood where, so that
the next look, at the next call, only compares.
"""

import types
from collections.abc import Hashable
from typing import Any

from ..table import Unsupported
from .step_reads import MISSING, cell_of, home
from .step_walk import Walk

_MOST = 1024  # functions that are remembered


def identity(function: Any) -> Hashable:
    """What stands for a function and all it reads besides its arguments, as that is now: equal while nothing changes.

    Args:
        function: a function, a method, a `functools.partial`, or another object that can be called; or None.

    Raises:
        Unsupported: it reads what can be neither compared nor trusted; the message says what, and how to write it.
    """
    look = _LOOKS.get(id(function))
    if look is None or not look.still():
        try:
            look = _Look(function)
        except Unsupported:
            raise
        except Exception as error:  # attributes are the user's own, and may do anything
            first = (str(error).strip() or "no message").splitlines()[0]
            raise Unsupported(
                "", f"what its step reads cannot be looked at ({type(error).__name__}: {first})"
            ) from error
        _make_room(_LOOKS)
        _LOOKS[id(function)] = look
    return look.token


class _Look:
    """A walk over a function, and what stands for all that was seen."""

    def __init__(self, function: Any) -> None:
        self.function = function  # kept, so that no other gets its id
        self.walk = Walk(home(function))
        found = self.walk.value(function, "")
        _make_room(_TOKENS)
        self.token = _TOKENS.setdefault(found, object())

    def still(self) -> bool:
        """Whether all stands where it stood."""
        walk = self.walk
        for function, *parts in walk.codes:
            now = (function.__code__, function.__defaults__, function.__kwdefaults__)
            if any(a is not b for a, b in zip(now, parts, strict=True)):
                return False
        for names, name, x in walk.globals:
            if names.get(name, MISSING) is not x:
                return False
        for cell, x in walk.cells:
            if cell_of(cell) is not x:
                return False
        for owner, name, x in walk.attributes:
            now = getattr(owner, name, MISSING)
            if now is not x and not (type(x) is types.MethodType and type(now) is types.MethodType and now == x):
                return False
        return all(Walk(walk.home).value(x, "") == content for x, content in walk.contents)


def _make_room(known: dict[Any, Any]) -> None:
    while len(known) >= _MOST:
        known.pop(next(iter(known)), None)


_LOOKS: dict[int, _Look] = {}
_TOKENS: dict[Hashable, object] = {}
