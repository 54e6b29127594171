"""The stages of one step of one row as statements of C99, in float; the loop IR's vectors hold one number here.

An array is a name that the caller gives. What is 0 or 1 with one row and one step is folded away, and so is a pointer
to a row: `at(x, r * 64)` becomes `x`. Vectors are left to the compiler: it makes them of such loops.
"""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..build.fused_loop import ROWS
from ..build.layout import ROW, STEPS
from ..ir.buffers import Buffer
from ..ir.expressions import (
    Base,
    Binary,
    Expr,
    Float,
    Fold,
    Gather,
    Int,
    Keep,
    Load,
    LoadVector,
    Num,
    Offset,
    Pointwise,
    Row,
    Spread,
    ToInt,
    Var,
)  # fmt: skip
from ..ir.loops import Assign, Body, For, Multiply, Scatter, Statement, Store, StoreVector
from ..ir.ops import POINTWISE, REDUCTIONS, missing
from .c_math import FUNCTIONS, functions

OPERATIONS = {
    "add": "({} + {})", "sub": "({} - {})", "mul": "({} * {})", "div": "({} / {})", "neg": "(-{})",
    "gt": "(float)({} > {})", "ge": "(float)({} >= {})", "lt": "(float)({} < {})", "le": "(float)({} <= {})",
    "eq": "(float)({} == {})", "ne": "(float)({} != {})", "where": "({} != 0.0f ? {} : {})", "abs": "fabsf({})",
    "floor": "floorf({})", "round": "nearbyintf({})", "log": "logf({})", "sqrt": "sqrtf({})", "erf": "erff({})",
    "expm1": "expm1f({})", "sin": "sinf({})", "cos": "cosf({})", "atan": "atanf({})", "pow": "powf({}, {})",
    "log2": "log2f({})", "log10": "log10f({})", "erfc": "erfcf({})", "fmod": "fmodf({}, {})",
    "copysign": "copysignf({}, {})",
}  # fmt: skip
CALLED = ("relu", "sign", "maximum", "minimum", "exp", "tanh", "sigmoid")  # functions of c_math.py
ACROSS = ("sum", "amax")  # of one number: that number
missing((*OPERATIONS, *CALLED), POINTWISE, "render/c.py")
missing(ACROSS, REDUCTIONS, "render/c.py, across lanes,")
assert FUNCTIONS.issuperset(CALLED)

_FIXED = {ROWS: 1, STEPS: 1, ROW: 0}
_INDENT = "    "


class Place(NamedTuple):
    """An address: so many numbers, and what else is added, beyond the array of a name."""

    name: str
    at: int = 0
    terms: tuple[str, ...] = ()

    def beyond(self, at: int, terms: Iterable[str]) -> "Place":
        return Place(self.name, self.at + at, (*self.terms, *terms))

    def subscript(self) -> str:
        if not self.terms:
            return str(self.at)
        sign = "-" if self.at < 0 else "+"
        return " + ".join(self.terms) + (f" {sign} {abs(self.at)}" if self.at else "")

    def __str__(self) -> str:
        return f"{self.name} + {self.subscript()}" if self.terms or self.at else self.name


@dataclass
class CText:
    """Renders statements, and notes what they use.

    Args:
        places: where each array begins.
        prefix: of the functions' names.
        token: the name of the token's number, an integer, where x is one.
    """

    places: Mapping[Buffer, Place]
    prefix: str
    token: str = ""
    used: set[Buffer] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    rows: dict[Buffer, Place] = field(default_factory=dict)

    def functions(self) -> str:
        """The functions that the statements so far call."""
        return functions(self.called, self.prefix)

    def block(self, body: Body, declared: frozenset[str] = frozenset()) -> list[str]:
        """Lines of statements; variables in `declared` are assigned to, others declared."""
        lines: list[str] = []
        for statement in body:
            if isinstance(statement, Assign) and isinstance(statement.name, Var):
                kind = "" if statement.name.name in declared else "float "
                declared |= {statement.name.name}
                lines.append(f"{kind}{statement.name.name} = {_bare(self.text(statement.value))};")
            else:
                lines += self._lines(statement, declared)
        return lines

    def _lines(self, s: Statement, declared: frozenset[str]) -> list[str]:
        match s:
            case Assign(Row(buffer), value):
                self.rows[buffer] = self._place(value)
                return []
            case For(variable, _, body, None) if variable == ROW:
                note = f"{{  /* {s.note} */" if s.note else "{"
                return [note, *(_INDENT + line for line in self.block(body, declared)), "}"]
            case For(Var(name), stop, body, start):
                begin, end = (self._sum(e if e is not None else Int(0)) for e in (start, stop))
                assert not begin[1] and not end[1]
                head = f"for (int {name} = {begin[0]}; {name} < {end[0]}; {name}++) {{"
                return [head, *(_INDENT + line for line in self.block(body, declared)), "}"]
            case Store(pointer, at, value) | StoreVector(pointer, at, value) | Scatter(pointer, at, _, value):
                return [f"{self._at(pointer, at)} = {_bare(self.text(value))};"]
            case Multiply():
                return self._product(s)
        raise TypeError(f"a statement of a step's stages was expected, got {s!r}")

    def _product(self, s: Multiply) -> list[str]:
        self.called.add("product")
        (rows, _), (width, _), (depth, _) = map(self._sum, (s.rows, s.width, s.depth))
        x, w, y = map(self._place, (s.factor.pointer, s.packed, s.to.pointer))
        if rows == 1:
            return [f"{self.prefix}_product({depth}, {width}, {x}, {w}, {y});"]
        x, y = x.beyond(0, [f"i * {depth}"]), y.beyond(0, [f"i * {width}"])
        call = f"{self.prefix}_product({depth}, {width}, {x}, {w}, {y});"
        return [f"for (int i = 0; i < {rows}; i++) {{", _INDENT + call, "}"]

    def _place(self, pointer: Expr) -> Place:
        match pointer:
            case Row(buffer) if buffer in self.rows:
                return self.rows[buffer]
            case Base(buffer):
                self.used.add(buffer)
                return self.places[buffer]
            case Offset(inner, by):
                return self._place(inner).beyond(*self._sum(by))
        raise TypeError(f"a pointer into an array was expected, got {pointer!r}")

    def _at(self, pointer: Expr, at: Expr) -> str:
        place = self._place(pointer).beyond(*self._sum(at))
        return f"{place.name}[{place.subscript()}]"

    def _sum(self, e: Expr) -> tuple[int, tuple[str, ...]]:
        """An integer as a number and what is added to it."""
        match e:
            case Int(value):
                return value, ()
            case Var(name):
                return (_FIXED[e], ()) if e in _FIXED else (0, (name,))
            case ToInt(Load(pointer, at)):
                return 0, (f"(size_t){self.token or self._at(pointer, at)}",)
            case Binary("+", left, right):
                (a, some), (b, more) = self._sum(left), self._sum(right)
                return a + b, (*some, *more)
            case Binary("*", left, right):
                one, two = self._sum(left), self._sum(right)
                number, (at, terms) = (one[0], two) if not one[1] else (two[0], one)
                if not number:
                    return 0, ()
                if not one[1] or not two[1]:
                    return number * at, tuple(f"{term} * {number}" if number != 1 else term for term in terms)
        raise TypeError(f"an integer of a step's stages was expected, got {e!r}")

    def text(self, e: Expr) -> str:
        match e:
            case Var(name):
                return name
            case Float(x):
                return number(x)
            case Load(pointer, at) | LoadVector(pointer, at) | Gather(pointer, at):
                return self._at(pointer, at)
            case Num(value) | Spread(value) | Keep(value) | Fold(_, value):
                return self.text(value)
            case Pointwise(op, args) if op in CALLED:
                self.called.add(op)
                return f"{self.prefix}_{op}({', '.join(_bare(self.text(a)) for a in args)})"
            case Pointwise(op, args):
                return OPERATIONS[op].format(*map(self.text, args))
        raise TypeError(f"an expression of a step's stages was expected, got {e!r}")


def _bare(text: str) -> str:
    """A text without the parentheses around all of it."""
    if not text.startswith("("):
        return text
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return text[1:-1] if at == len(text) - 1 else text
    return text


def number(x: float) -> str:
    """A number as a constant of C's float, exactly as float32 has it."""
    if math.isnan(x):
        return "NAN"
    if abs(x) >= 2.0**128 * (1 - 2.0**-25):
        return "INFINITY" if x > 0 else "(-INFINITY)"
    text = f"{struct.unpack('f', struct.pack('f', x))[0]:.9g}"
    text = text if "." in text or "e" in text else f"{text}.0"
    return f"({text}f)" if text.startswith("-") else f"{text}f"
