"""What a function reads besides its arguments, walked: what it reads itself, then what each function it calls does.

Numbers, words, tuples, lists and dicts are compared by value, and so are the attributes of objects that are handed on
whole. Functions and classes of installed packages are trusted, and tensors left to the tracer, which refuses them.
"""

import collections
import dataclasses
import enum
import functools
import types
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..._torch import writes
from ..table import Unsupported
from .step_reads import MISSING, Same, called, cell_of, places, trusted, words
from .step_unseen import OPERATORS, must_be_named, must_be_seen, too_many

_MOST = 1024  # values of one container or array, which are compared at each call
_DEEP = 32
_FUNCTION, _METHOD = types.FunctionType, types.MethodType


class Walk:
    """A walk over what a function reads, which notes what stood where.

    Args:
        home: the package that the function is from, which is read though it may be installed.
    """

    def __init__(self, home: str) -> None:
        self.home = home
        self.open: list[Any] = []  # what is being looked at
        self.codes: list[tuple[Any, Any, Any, Any]] = []  # function, its code, its defaults of both kinds
        self.globals: list[tuple[dict[str, Any], str, Any]] = []
        self.cells: list[tuple[Any, Any]] = []
        self.attributes: list[tuple[Any, str, Any]] = []
        self.contents: list[tuple[Any, Hashable]] = []  # containers that may change
        self.within = 0  # such containers, around what is being looked at

    def value(self, x: Any, name: str) -> Hashable:
        must_be_seen(x)
        compare = _COMPARED.get(type(x))
        if compare is None:
            compare = next((c for kind, c in _FAMILIES if isinstance(x, kind)), Walk.of_object)
        return compare(self, x, name)

    def each(self, x: Any, name: str, parts: Iterable[Any]) -> list[Hashable]:
        """The values of parts of x, which has not been met on the way to it."""
        if any(x is other for other in self.open):
            return []
        if len(self.open) >= _DEEP:
            raise Unsupported(
                "", f"its step reads {called(x, name)} through more than {_DEEP} others; hand it over itself"
            )
        self.open.append(x)
        found = [self.value(part, name) for part in parts]
        self.open.pop()
        return found

    def of_container(self, x: Any, name: str) -> Hashable:
        """A list, dict, set or array, which may change."""
        if len(x) > _MOST:
            raise too_many(x, name, len(x))
        self.within += 1
        if isinstance(x, dict | types.MappingProxyType):
            found = (type(x), *self.each(x, name, [part for pair in x.items() for part in pair]))
        elif isinstance(x, np.ndarray):
            found = (type(x), x.dtype.str, x.shape, x.tobytes())
        else:
            parts = self.each(x, name, x)
            found = (type(x), frozenset(parts)) if isinstance(x, set | frozenset) else (type(x), *parts)
        self.within -= 1
        if not self.within:
            self.contents.append((x, found))
        return found

    def of_own_kind(self, x: Any, name: str, compare: Callable[["Walk", Any, str], Hashable]) -> Hashable:
        """A number, a word or a container of somebody's own class: what it is besides, and what its methods read."""
        self.within += 1
        found = (
            compare(self, x, name),
            self.of_kind(type(x), name),
            *self.each(x, name, [dict(getattr(x, "__dict__", {}))]),
        )
        self.within -= 1
        if not self.within:
            self.contents.append((x, found))
        return found

    def of_array(self, x: Any, name: str) -> Hashable:
        if x.size > _MOST or x.dtype.hasobject:
            raise too_many(x, name, x.size)
        return self.of_container(np.atleast_1d(x), name)

    def of_tensor(self, x: Tensor, name: str) -> Hashable:
        found = (Same(x), None if x.is_inference() else writes(x))
        self.contents.append((x, found))
        return found

    def of_tuple(self, x: Any, name: str) -> Hashable:
        return (type(x), *self.each(x, name, x))

    def of_partial(self, x: Any, name: str) -> Hashable:
        named = self.of_container(x.keywords, name) if x.keywords else None
        return (type(x), named, *self.each(x, name, (x.func, *x.args)))

    def of_module(self, x: Any, name: str) -> Hashable:
        if trusted(x.__name__, self.home):
            return x
        raise Unsupported("", f"its step hands on the module {x.__name__} as a whole; name what it reads of it")

    def of_function(self, x: Any, name: str, owner: Any = None) -> Hashable:
        """A function, and what it reads; `owner` is what it gets for `self`."""
        if trusted(x.__globals__.get("__name__"), self.home):
            return x
        key = (x, Same(owner))
        if key in self.open:
            return x
        self.codes.append((x, x.__code__, x.__defaults__, x.__kwdefaults__))
        found = [x.__code__, *self.each(key, name, x.__defaults__ or ())]
        found += [self.of_container(x.__kwdefaults__, name)] if x.__kwdefaults__ else []
        self.open.append(key)
        for kind, root, attributes in places(x.__code__, owner is not None):
            if kind == "self":
                here = owner
            elif kind == "cell":
                cell = x.__closure__[x.__code__.co_freevars.index(root)]
                here = cell_of(cell)
                self.cells.append((cell, here))
            else:
                must_be_named(kind, root, x.__globals__, self.home)
                here = x.__globals__.get(root, MISSING)
                self.globals.append((x.__globals__, root, here))
            found.append(self.along(here, root, attributes))
        self.open.pop()
        return (x, *found)

    def along(self, x: Any, name: str, attributes: Iterable[str]) -> Hashable:
        """An attribute of an attribute of x, as far as there is something that may change."""
        for attribute in attributes:
            if isinstance(x, Tensor) or type(x) in _WHOLE:
                break
            if isinstance(x, types.ModuleType) and trusted(x.__name__, self.home):
                must_be_seen(x, attributes)
                return x
            told = None if isinstance(x, types.ModuleType) else getattr(type(x), attribute, None)
            if isinstance(told, property) and told.fget is not None:
                return self.of_function(told.fget, attribute, x)
            owner, x, name = x, getattr(x, attribute, MISSING), attribute
            self.attributes.append((owner, attribute, x))
        return self.value(x, name)

    def of_method(self, x: Any, name: str) -> Hashable:
        function, owner = x.__func__, x.__self__
        if not isinstance(function, _FUNCTION):
            return (self.value(function, name), self.value(owner, name))
        if trusted(function.__globals__.get("__name__"), self.home):
            return (function, self.value(owner, name))
        return (Same(owner), self.of_function(function, name, owner))

    def of_torch_module(self, x: nn.Module, name: str) -> Hashable:
        """An activation, say, by its settings; a module with weights is nothing for a step to hold."""
        if next(x.parameters(), None) is not None or next(x.buffers(), None) is not None:
            linear = ", as F.linear(x, weight, bias) for nn.Linear" if isinstance(x, nn.Linear) else ""
            what = f"its step calls {called(x, name)}, a module with weights of its own: hand these over as weights "
            raise Unsupported("", f"{what}(a Cell's `weights()`), and write its function in the step{linear}")
        return self.of_object(x, name, {key: part for key, part in vars(x).items() if key not in _OF_TORCH})

    def of_kind(self, x: type, name: str) -> Hashable:
        """A class, and what stands in it; one of an installed package, or of plain records, by itself."""
        if trusted(x.__module__, self.home) or issubclass(x, enum.Enum) or hasattr(x, "_fields"):
            return x
        special = OPERATORS if dataclasses.is_dataclass(x) else (*OPERATORS, "__init__", "__new__")
        bases = [vars(base) for base in reversed(x.__mro__) if not trusted(base.__module__, self.home)]
        held = {key: part for names in bases for key, part in names.items()}
        own = {key: part for key, part in held.items() if key in special or not key.startswith("__")}
        self.within += 1  # looked through again at each call: anybody may assign to a class
        found = (x, *own, *self.each(x, name, [getattr(part, "__func__", part) for part in own.values()]))
        self.within -= 1
        if not self.within:
            self.contents.append((x, found))
        return found

    def of_object(self, x: Any, name: str, held: dict[str, Any] | None = None) -> Hashable:
        """Any other object: what it holds, and what calling it does."""
        kind = type(x)
        if dataclasses.is_dataclass(x) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            fields = [field.name for field in dataclasses.fields(x)]
            self.attributes += [(x, field, getattr(x, field)) for field in fields]
            return (Same(x), self.of_kind(kind, name), *self.each(x, name, [getattr(x, field) for field in fields]))
        if callable(x) and trusted(kind.__module__, self.home) and not isinstance(x, nn.Module):
            return (Same(x), self.value(getattr(x, "__wrapped__", None), name))  # of functools.cache, say
        slots = [s for c in kind.__mro__ for s in words(vars(c).get("__slots__", ())) if not s.startswith("__")]
        if held is None:
            held = getattr(x, "__dict__", None)
        if hasattr(x, "__next__") or (held is None and not slots and trusted(kind.__module__, self.home)):
            what = f"its step reads {called(x, name)}, and what changes in it cannot be seen; hand what it reads of it"
            raise Unsupported("", f"{what} over as a weight, or as a number by functools.partial")
        inside = {**(held or {}), **{s: getattr(x, s) for s in slots if hasattr(x, s)}}
        self.within += 1
        calls = [] if trusted(kind.__module__, self.home) else [kind, getattr(x, "forward", None)]
        calls += [types.MethodType(kind.__call__, x)] if callable(x) and not isinstance(x, nn.Module) else []
        found = (Same(x), *inside, *self.each(x, name, [*inside.values(), *calls]))
        self.within -= 1
        if not self.within:
            self.contents.append((x, found))
        return found


_OF_TORCH = frozenset(key for key in vars(nn.Module()) if "hooks" not in key) - {"training", "_modules"}
_SIMPLE = (type(None), bool, int, str, bytes, range, type(...), torch.dtype, torch.device, torch.Size, torch.layout)
_FIXED = (type(torch.relu), type(str.join), torch.finfo, torch.iinfo, torch.memory_format,
          types.MemberDescriptorType, types.GetSetDescriptorType)  # fmt: skip
_COMPARED: dict[type, Callable[[Walk, Any, str], Hashable]] = {
    **dict.fromkeys(_SIMPLE, lambda look, x, name: (type(x), x)),
    **dict.fromkeys(_FIXED, lambda look, x, name: Same(x)),
    # By their digits: 0.0 equals -0.0, and NaN is not itself.
    **dict.fromkeys((float, complex), lambda look, x, name: (type(x), repr(x))),
    **dict.fromkeys((list, set, frozenset, dict, collections.deque, types.MappingProxyType), Walk.of_container),
    np.ndarray: Walk.of_array,
    tuple: Walk.of_tuple,
    functools.partial: Walk.of_partial,
    property: lambda look, x, name: look.value(x.fget, name),
    object: lambda look, x, name: Same(x),
}
_WHOLE = frozenset(_COMPARED)  # whose attributes are not read singly
_COMPARED |= {
    types.ModuleType: Walk.of_module,
    type: Walk.of_kind,
    _FUNCTION: Walk.of_function,
    _METHOD: Walk.of_method,
}
_FAMILIES: tuple[tuple[Any, Callable[[Walk, Any, str], Hashable]], ...] = (
    (Tensor, Walk.of_tensor),
    (nn.Module, Walk.of_torch_module),
    (type, Walk.of_kind),
    (enum.Enum, lambda look, x, name: Same(x)),
    (np.generic, lambda look, x, name: (type(x), x.tobytes())),
    ((int, float, str, bytes), lambda look, x, name: look.of_own_kind(x, name, lambda _, y, __: repr(y))),
    (tuple, lambda look, x, name: look.of_own_kind(x, name, Walk.of_tuple)),
    ((list, set, frozenset, dict), lambda look, x, name: look.of_own_kind(x, name, Walk.of_container)),
    (types.ModuleType, Walk.of_module),
)
