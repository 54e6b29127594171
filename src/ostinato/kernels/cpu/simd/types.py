"""Vectors of numbers in Numba: types that are LLVM vectors, and functions whose body is LLVM.

LLVM finds vectors in loops by itself only where it can prove that arrays do not overlap; what is written here as a
vector is one. An operation is written once, for any dtype and any number of lanes:

    @emits("vec", "pointer", "int")
    def load(b, p, i): return b.load(p, i)

As it stands it takes its dtype from its arguments; `bound` fixes it, so that plain numbers may stand for vectors.
"""

import inspect
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.ir as ir
from numba.core import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

FLOATS: dict[str, Any] = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
NUMBERS: dict[str, Any] = {"float32": types.float32, "float64": types.float64}
INT32, INT64 = ir.IntType(32), ir.IntType(64)
Body = Callable[..., Any]


class Vec(types.Type):
    """`count` numbers of one dtype in a register; if `paired`, their products are of pairs (see bf16.py)."""

    def __init__(self, dtype: str, count: int, paired: bool = False) -> None:
        self.dtype, self.count, self.paired = dtype, count, paired
        super().__init__(f"{dtype}x{count}{'_paired' if paired else ''}")

    @property
    def vec(self) -> "Vec":
        return self


class Pointer(types.Type):
    """The address of numbers that are read as vectors."""

    def __init__(self, vec: Vec) -> None:
        self.vec = vec
        super().__init__(f"pointer_{vec.name}")


class _VecModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vec: Vec) -> None:
        super().__init__(manager, vec, ir.VectorType(FLOATS[vec.dtype], vec.count))


class _PointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, pointer: Pointer) -> None:
        super().__init__(manager, pointer, FLOATS[pointer.vec.dtype].as_pointer())


register_model(Vec)(_VecModel)
register_model(Pointer)(_PointerModel)


class VectorBuilder:
    """LLVM's IRBuilder, as `ir`, and beside it what is often needed, for one dtype and number of lanes."""

    def __init__(self, builder: Any, vec: Vec) -> None:
        self.ir, self.vec, self.count = builder, vec, vec.count
        self.wide = vec.dtype == "float64"
        self.number = FLOATS[vec.dtype]
        self.integer = INT64 if self.wide else INT32
        self.type = ir.VectorType(self.number, vec.count)
        self.integers = ir.VectorType(self.integer, vec.count)
        self.places = ir.VectorType(INT32, vec.count)

    def const(self, x: float) -> Any:
        return ir.Constant(self.type, [float(x)] * self.count)

    def whole(self, n: int) -> Any:
        """An integer in every lane."""
        return ir.Constant(self.integers, [n] * self.count)

    def spread(self, x: Any) -> Any:
        """One number, or 32-bit integer, in every lane."""
        empty = ir.Constant(ir.VectorType(x.type, self.count), ir.Undefined)
        first = self.ir.insert_element(empty, x, INT32(0))
        return self.ir.shuffle_vector(first, empty, ir.Constant(self.places, [0] * self.count))

    def spread64(self, x: Any) -> Any:
        """A 64-bit integer in every lane."""
        return self.spread(x)

    def prefix(self, n: Any) -> Any:
        """The mask of the first n lanes."""
        places = ir.Constant(self.places, list(range(self.count)))
        return self.ir.icmp_signed("<", places, self.spread(self.ir.trunc(n, INT32)))

    def declare(self, name: str, result: Any, *args: Any) -> Any:
        kind = ir.FunctionType(result, [a.type for a in args])
        found = self.ir.module.globals.get(name)
        return self.ir.call(found or ir.Function(self.ir.module, kind, name), args)

    def llvm(self, name: str, *args: Any) -> Any:
        """LLVM's function of this name on vectors: "fabs", "sqrt", "fmuladd"."""
        return self.declare(f"llvm.{name}.v{self.count}f{64 if self.wide else 32}", self.type, *args)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x y + z, rounded once where the machine can."""
        return self.llvm("fmuladd", x, y, z)

    def address(self, p: Any, i: Any) -> Any:
        return self.ir.bitcast(self.ir.gep(p, [i]), self.type.as_pointer())

    def load(self, p: Any, i: Any) -> Any:
        return self.ir.load(self.address(p, i), align=8 if self.wide else 4)

    def store(self, p: Any, i: Any, v: Any) -> None:
        self.ir.store(v, self.address(p, i), align=8 if self.wide else 4)

    def masked(self, what: str, result: Any, p: Any, i: Any, n: Any, v: Any) -> Any:
        """LLVM's masked "load" (v: what the lanes from n on become) or "store" (of v)."""
        name = f"llvm.masked.{what}.v{self.count}f{64 if self.wide else 32}.p0"
        first = [v] if what == "store" else []
        last = [v] if what == "load" else []
        align = INT32(8 if self.wide else 4)
        return self.declare(name, result, *first, self.address(p, i), align, self.prefix(n), *last)

    def fold(self, v: Any, step: Callable[[Any, Any], Any]) -> Any:
        """The lanes into one number, halves first."""
        width = self.count
        while width > 1:
            width //= 2
            half = ir.Constant(self.places, [(i + width) % self.count for i in range(self.count)])
            v = step(v, self.ir.shuffle_vector(v, v, half))
        return self.ir.extract_element(v, INT32(0))


class Operation(NamedTuple):
    """A function whose body is LLVM, and the kinds of what it returns and takes."""

    name: str
    body: Body
    result: str
    args: tuple[str, ...]

    def bound(self, vec: Vec | None = None) -> Any:
        """The function for Numba. Without `vec`, the arguments say which dtype is meant."""

        def typing(context: Any, *given: Any) -> Any:
            of = vec or next((a.vec for a in given if isinstance(a, Vec | Pointer)), None)
            if of is None or len(given) != len(self.args):
                return None
            kinds = {"vec": of, "pointer": Pointer(of), "number": NUMBERS[of.dtype]}
            kinds |= {"int": types.intp, "void": types.void}

            def code(context: Any, builder: Any, sig: Any, values: Any) -> Any:
                made = self.body(VectorBuilder(builder, of), *values)
                return context.get_dummy_value() if self.result == "void" else made

            return signature(kinds[self.result], *(kinds[a] for a in self.args)), code

        made: Any = typing
        made.__name__ = made.__qualname__ = self.name
        made.__module__ = self.body.__module__
        names = ("context", *(f"x{i}" for i in range(len(self.args))))
        # Numba counts the parameters, and takes no *args here.
        given = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        made.__signature__ = inspect.Signature(given)
        return intrinsic(made)


OPERATIONS: dict[str, Operation] = {}  # all that were written, by name


def emits(result: str, *args: str) -> Callable[[Body], Any]:
    """Decorator: a body of LLVM over (VectorBuilder, *values) becomes a function for Numba, known in OPERATIONS.

    Kinds are "vec", "pointer", "number", "int" and "void".
    """

    def decorate(body: Body) -> Any:
        operation = Operation(body.__name__, body, result, args)
        OPERATIONS[operation.name] = operation
        return operation.bound()

    return decorate


def _from_float(context: Any, builder: Any, source: Any, target: Any, x: Any) -> Any:
    b = VectorBuilder(builder, target)
    if x.type != b.number:
        x = builder.fpext(x, b.number) if b.wide else builder.fptrunc(x, b.number)
    return b.spread(x)


def _from_integer(context: Any, builder: Any, source: Any, target: Any, n: Any) -> Any:
    b = VectorBuilder(builder, target)
    return b.spread(builder.sitofp(n, b.number))


def _from_literal(context: Any, builder: Any, source: Any, target: Any, n: Any) -> Any:
    return VectorBuilder(builder, target).const(source.literal_value)


lower_cast(types.Float, Vec)(_from_float)
lower_cast(types.Integer, Vec)(_from_integer)
lower_cast(types.IntegerLiteral, Vec)(_from_literal)


class _Infix(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        vec = next((a for a in args if isinstance(a, Vec)), None)
        return signature(vec, *[vec] * len(args)) if vec else None


def _infix(symbol: Any, method: str) -> None:
    register: Any = infer_global(symbol)
    register(type(f"Vec_{symbol.__name__}", (_Infix,), {}))

    # "contract" lets x * y + z be rounded once. Nothing else may change what is computed.
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, method)(*args, flags=("contract",))

    lower_builtin(symbol, *[Vec] * (1 if method == "fneg" else 2))(code)


for _symbol, _method in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv"), ("neg", "fneg")):
    _infix(getattr(operator, _symbol), _method)
