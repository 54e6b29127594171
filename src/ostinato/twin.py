"""A model's structure a second time, over the same weights: what is put in their place there, the model never sees."""

import copy
import dataclasses
from collections import OrderedDict, defaultdict, deque
from functools import partial
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)
_MAPPINGS = (dict, OrderedDict, defaultdict)
_SERIES = (list, set, deque)


def twin(model: M) -> M:
    """A module whose parts are those of the model anew, and whose parameters, buffers and other tensors are the same.

    What the model holds in lists and dicts is found there as well, and so are methods bound to its parts; any other
    object is shared. Nothing of the model is written to, so that other threads may use it meanwhile.
    """
    return _Twins()(model)


class _Twins:
    def __init__(self) -> None:
        self.known: dict[int, Any] = {}  # by the number of the original ...
        self.alive: list[Any] = []  # ... which stays its own

    def __call__(self, x: Any) -> Any:
        if id(x) not in self.known:
            self.alive.append(x)
            found = self._of(x)
            self.known[id(x)] = found
        return self.known[id(x)]

    def _of(self, x: Any) -> Any:
        kind = type(x)
        if issubclass(kind, nn.Module) and not issubclass(kind, torch.jit.ScriptModule):
            other = self.known[id(x)] = object.__new__(kind)
            # A copy at once, here and below: another thread may add to the original.
            other.__dict__ |= {name: self(part) for name, part in dict(x.__dict__).items()}
            return other
        if kind in _MAPPINGS:
            other = self.known[id(x)] = copy.copy(x)
            for key, part in list(other.items()):
                other[key] = self(part)
            return other
        if kind in _SERIES:
            parts = [self(part) for part in copy.copy(x)]
            other = self.known[id(x)] = copy.copy(x)
            other.clear()
            for part in parts:
                other.add(part) if isinstance(other, set) else other.append(part)
            return other
        return self._fixed(x)

    def _fixed(self, x: Any) -> Any:
        """What cannot be written to: anew only where it holds something that is."""
        if isinstance(x, tuple):
            parts = [self(part) for part in x]
            if all(new is old for new, old in zip(parts, x, strict=True)):
                return x
            return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
        if isinstance(x, MethodType):
            owner = self(x.__self__)
            return x if owner is x.__self__ else MethodType(x.__func__, owner)
        if type(x) is partial:
            return partial(self(x.func), *map(self, x.args), **{name: self(part) for name, part in x.keywords.items()})
        if dataclasses.is_dataclass(x) and not isinstance(x, type):
            return self._dataclass(x)
        return x

    def _dataclass(self, x: Any) -> Any:
        names = [field.name for field in dataclasses.fields(x) if hasattr(x, field.name)]
        parts = {name: self(getattr(x, name)) for name in names}
        if all(new is getattr(x, name) for name, new in parts.items()):
            return x
        other = copy.copy(x)
        for name, part in parts.items():
            object.__setattr__(other, name, part)
        return other
