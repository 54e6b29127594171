"""What the names in a kernel's text mean."""

import importlib
import math
from typing import Any

import numpy as np
from numba.core import types

from ..gemm.panels import call_exact, call_product
from . import math as functions
from . import memory_ops as moves
from .types import OPERATIONS, Pointer, Vec

_NUMBERS = {"float32": np.float32, "float64": np.float64}


def kernel(dtype: str, count: int) -> dict[str, Any]:
    """The names that emitted kernels are written with: see memory_ops.py and math.py."""
    vec = Vec(dtype, count)
    named = [o for o in OPERATIONS.values() if o.body.__module__ in (moves.__name__, functions.__name__)]
    others = {"copy": moves.copy, "call_product": call_product, "call_exact": call_exact}
    return {o.name: o.bound(vec) for o in named} | others | {"math": math, "num": _NUMBERS[dtype]}


def fixed(module: str, name: str, of: Any, takes: str) -> dict[str, Any]:
    """A body, and its signature over pointers "p" to vectors `of` a kind and integers "n"."""
    kinds = {"p": Pointer(Vec(of.dtype, of.count, of.paired)), "n": types.intp}
    body = getattr(importlib.import_module(module), name)
    return {name: body, "signature": types.void(*(kinds[k] for k in takes))}


def function(module: str, name: str) -> dict[str, Any]:
    """One function of Numba's, under its own name."""
    return {name: getattr(importlib.import_module(module), name)}
