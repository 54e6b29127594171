"""What a step may not read, because nobody sees it change: settings of the process, and names that are looked up."""

import os
import re
import sys
import weakref
from collections.abc import Iterable
from typing import Any

import torch

from ..table import Unsupported
from .step_reads import called, trusted

# Functions of Python that read what their arguments say.
_HIDING = frozenset(("eval", "exec", "globals", "locals", "vars", "__import__", "open", "input"))
# Methods that nobody calls by name.
OPERATORS = (
    "__call__", "__getitem__", "__len__", "__iter__", "__contains__", "__missing__", "__enter__", "__exit__",
    "__getattr__", "__getattribute__", "__get__", "__float__", "__int__", "__index__", "__bool__", "__complex__",
    "__neg__", "__pos__", "__abs__", "__invert__", "__round__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__",
    "__ge__", "__torch_function__",
    *(f"__{side}{name}__" for side in ("", "r") for name in (
        "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "divmod",
    )),
)  # fmt: skip
_SETTING = re.compile(r"is_\w*enabled\w*|are_\w+|get_num_threads|get_num_interop_threads|get_float32_\w+|initial_seed")
_SETTINGS = {
    id(part): f"torch.{name}" for name in dir(torch) if _SETTING.fullmatch(name) and (part := getattr(torch, name))
}
_SETTINGS |= {id(torch.backends): "torch.backends", id(sys.modules): "sys.modules", id(os.environ): "os.environ",
              id(os.getenv): "os.getenv"}  # fmt: skip


def must_be_named(kind: str, root: str, names: dict[str, Any], home: str) -> None:
    """
    Raises:
        Unsupported: a step imports a module that may change, or looks names up by a function of Python's.
    """
    if kind == "import" and not trusted(root, home):
        raise Unsupported("", f"its step imports {root}; import it above the step, where what is read of it is seen")
    if root in _HIDING and root not in names:
        raise Unsupported("", f"its step calls {root}(), and what that reads is not seen; name what the step reads")


def must_be_seen(x: Any, attributes: Iterable[str] = ()) -> None:
    """
    Raises:
        Unsupported: a value, or an attribute of an attribute of it, hides others, or says how the process is set up.
    """
    for attribute in (None, *attributes):
        x = x if attribute is None else getattr(x, attribute, None)
        if id(x) in _SETTINGS:
            what = f"its step reads {_SETTINGS[id(x)]}, whose changes are not seen"
        elif isinstance(x, weakref.ReferenceType):
            what = "its step reads through a weak reference, behind which changes are not seen"
        else:
            continue
        raise Unsupported("", f"{what}; read it before the scan, and hand it over by functools.partial or as a weight")


def too_many(x: Any, name: str, count: int) -> Unsupported:
    """Why a large container or array is refused: it would be compared at each call."""
    what = f"its step reads {called(x, name)} with {count} values, which may change; hand it over as a weight"
    return Unsupported("", what)
