"""Names to classes. An unknown name says which names are near."""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

C = TypeVar("C")


class UnknownNameError(ValueError):
    """A name that nobody registered; the message says which names are near."""


def near(name: str, names: Iterable[str]) -> str:
    """'; did you mean X?' with the names like `name`, or all of them where none is like it."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {', '.join(close)}?" if close else f"; there are: {', '.join(known)}"


class Registry(dict[str, Any]):
    """Names to things of one kind.

    >>> colours = Registry("colour")
    >>> colours["red"] = "#f00"
    >>> colours["rad"]
    Traceback (most recent call last):
    ...
    ostinato.registry.UnknownNameError: no colour is called 'rad'; did you mean red?
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[C], C]:
        """Class decorator: `@cells.register("lstm")`.

        Raises:
            ValueError: the name is taken.
        """

        def add(thing: C) -> C:
            if name in self:
                raise ValueError(f"{self.kind} {name!r} is registered twice: {self[name]} and {thing}; rename one")
            self[name] = thing
            return thing

        return add

    def __missing__(self, name: str) -> Any:
        raise UnknownNameError(f"no {self.kind} is called {name!r}{near(name, self)}")


cells = Registry("cell")
tasks = Registry("task")
