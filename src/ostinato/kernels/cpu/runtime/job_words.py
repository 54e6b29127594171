"""How a job reads its array of integers."""

from typing import Any

from numba import njit
from numba.core import types
from numba.core.typing.templates import signature
from numba.extending import intrinsic

from ..simd.types import INT64, Pointer

compiled: Any = njit(nogil=True, error_model="numpy")


def _unpack(context: Any, words: Any, integers: Any, pointers: Any) -> Any:
    """unpack(words, integers, pointers): the array of a job as a tuple, so many integers and then so many pointers."""
    if not (isinstance(words, Pointer) and all(isinstance(n, types.IntegerLiteral) for n in (integers, pointers))):
        return None
    kinds = [types.intp] * integers.literal_value + [words] * pointers.literal_value

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        first = builder.bitcast(args[0], INT64.as_pointer())
        values = []
        for i, kind in enumerate(kinds):
            value = builder.load(builder.gep(first, [INT64(i)]))
            values.append(value if kind is types.intp else builder.inttoptr(value, args[0].type))
        return context.make_tuple(builder, sig.return_type, values)

    return signature(types.Tuple(kinds), words, integers, pointers), code


unpack: Any = intrinsic(prefer_literal=True)(_unpack)
