"""Where the code of a step reads besides its arguments: the globals it names, the cells it closes over, its `self`."""

import dis
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..table import Unsupported

_PACKAGE = __name__.partition(".")[0]
_LOADS = {"LOAD_GLOBAL": "global", "LOAD_NAME": "global", "LOAD_DEREF": "cell", "LOAD_CLASSDEREF": "cell"}
_LOADS |= {"LOAD_FROM_DICT_OR_DEREF": "cell", "LOAD_FROM_DICT_OR_GLOBALS": "global"}


MISSING = object()  # where a name stands nowhere: the step would raise


class Same:
    """An object that equals itself alone; kept, so that no other gets its id."""

    __slots__ = ("it",)

    def __init__(self, it: Any) -> None:
        self.it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.it is other.it

    def __hash__(self) -> int:
        return id(self.it)


class Place(NamedTuple):
    """A name, and attributes of it one after the other: `config.rates.fast`."""

    kind: str  # "global", "cell", "self", or "import" of a module
    name: str
    attributes: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def places(code: types.CodeType, method: bool) -> tuple[Place, ...]:
    """The places that a code object, with those inside it, reads besides its arguments; of a method, `self` too.

    Raises:
        Unsupported: it assigns what lies outside of it.
    """
    return tuple(dict.fromkeys(_places(code, code, method)))


def _places(code: types.CodeType, outer: types.CodeType, method: bool) -> Iterator[Place]:
    own = outer.co_varnames[0] if method and outer.co_varnames else ""
    root: tuple[str, str] | None = None
    attributes: list[str] = []
    for step in dis.get_instructions(code):
        name, word = step.opname, step.argval
        if name == "EXTENDED_ARG":
            continue
        if name == "IMPORT_NAME":
            yield Place("import", word, ())
        if name == "STORE_GLOBAL" or (name == "STORE_DEREF" and word in outer.co_freevars):
            raise _assigns(word)
        if root is not None:
            if name in ("LOAD_ATTR", "LOAD_METHOD"):
                attributes.append(word)
                continue
            if name == "STORE_ATTR" and root[0] == "self" and not attributes:
                raise _assigns(f"{own}.{word}")
            yield Place(*root, tuple(attributes))
            root, attributes = None, []
        if name in _LOADS:
            if _LOADS[name] == "global" or word in outer.co_freevars:
                root = (_LOADS[name], word)
            elif word == own:
                root = ("self", own)
        elif own and code is outer and "LOAD_FAST" in name:
            if word == own:
                root = ("self", own)
            elif isinstance(word, tuple) and own in word:  # two loads in one, or a load and a store
                yield Place("self", own, ())
    if root is not None:
        yield Place(*root, tuple(attributes))
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _places(part, outer, method)


def _assigns(name: str) -> Unsupported:
    return Unsupported(
        "", f"its step assigns {name}, which is outside of it; what changes from step to step is its state"
    )


@functools.lru_cache(maxsize=4096)
def trusted(module: str | None, home: str) -> bool:
    """Whether nobody changes what a module holds: Python's own, this package's, and installed ones but the step's."""
    top = (module or "").partition(".")[0]
    if top in (_PACKAGE, "torch", "numpy") or top in sys.stdlib_module_names:
        return True
    if not top or top == home or top not in sys.modules:
        return False
    file = getattr(sys.modules[top], "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def home(function: Any) -> str:
    """The package that a step is from, installed or not."""
    while isinstance(function, functools.partial):
        function = function.func
    return (getattr(function, "__module__", None) or "").partition(".")[0]


def cell_of(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return MISSING


def words(slots: Any) -> tuple[str, ...]:
    """What `__slots__` names."""
    return (slots,) if isinstance(slots, str) else tuple(slots)


def called(x: Any, name: str) -> str:
    """A value in a message."""
    return f"{name} ({type(x).__name__})" if name else f"a {type(x).__name__}"
