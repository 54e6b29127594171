"""The loops of a kernel: what is computed, in which order, on which memory; nothing about a language.

A function takes integers: sizes, addresses of arrays, and the address of the product. Its variables are integers,
pointers, single numbers, and vectors of as many numbers as the machine has lanes (in C one). Addresses are expressions:
a pointer, and how many numbers beyond it.

    For(i, stop=R, body=(                       for i in range(R):
        Assign(Row(x), Offset(Base(x), ...)),       x_ = at(x, ...)
        StoreVector(Row(x), j, v0)))                store(x_, j, v0)
"""

from dataclasses import dataclass
from enum import Enum

from .buffers import Buffer


class Type(Enum):
    """What a variable holds."""

    INTEGER = "an integer"
    POINTER = "where numbers lie"
    NUMBER = "one number"
    VECTOR = "a vector of numbers"


class Integer:
    """Arithmetic of integer expressions as one writes it; numbers of Python stand for themselves."""

    __slots__ = ()

    def __add__(self, other: "Expr | int") -> "Binary":
        return Binary("+", self, expr(other))  # type: ignore[arg-type]

    def __sub__(self, other: "Expr | int") -> "Binary":
        return Binary("-", self, expr(other))  # type: ignore[arg-type]

    def __mul__(self, other: "Expr | int") -> "Binary":
        return Binary("*", self, expr(other))  # type: ignore[arg-type]

    def __mod__(self, other: "Expr | int") -> "Binary":
        return Binary("%", self, expr(other))  # type: ignore[arg-type]

    def __and__(self, other: "Expr | int") -> "Binary":
        return Binary("&", self, expr(other))  # type: ignore[arg-type]

    def is_(self, sign: str, other: "Expr | int") -> "Binary":
        """A comparison: `x.is_("<=", 3)`."""
        return Binary(sign, self, expr(other))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Var(Integer):
    """A variable, or a size that the function takes."""

    name: str
    type: Type = Type.INTEGER


@dataclass(frozen=True, slots=True)
class Parameter:
    """The address of an array, as the function takes it: an integer."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class Base:
    """A pointer to an array; of an array over time, to this step of the block's first row."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class Row:
    """A pointer to an array's row of the batch, inside a loop over rows."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class RowStride(Integer):
    """How far a row of an array is from the next one, where it is not known beforehand: an integer."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class Int(Integer):
    value: int


@dataclass(frozen=True, slots=True)
class Float:
    """A number, infinities and NaN too."""

    value: float


@dataclass(frozen=True, slots=True)
class Binary(Integer):
    """Arithmetic (+ - * // % & min max), comparisons (== != < <= > >=) and `and`, on integers; + on numbers too."""

    sign: str
    left: "Expr"
    right: "Expr"


@dataclass(frozen=True, slots=True)
class Choice:
    """`yes` where the condition holds, else `no`: only that one is computed."""

    condition: "Expr"
    yes: "Expr"
    no: "Expr"


@dataclass(frozen=True, slots=True)
class Address:
    """The pointer of an address that came as an integer."""

    integer: "Expr"


@dataclass(frozen=True, slots=True)
class Offset:
    """A pointer so many numbers beyond another."""

    pointer: "Expr"
    by: "Expr"


@dataclass(frozen=True, slots=True)
class Load(Integer):
    """One number."""

    pointer: "Expr"
    at: "Expr"


@dataclass(frozen=True, slots=True)
class LoadVector:
    """A vector of numbers side by side; with `count` only so many are read, and zeros stand behind them."""

    pointer: "Expr"
    at: "Expr"
    count: "Expr | None" = None


@dataclass(frozen=True, slots=True)
class ToInt(Integer):
    """A whole number as an integer."""

    value: "Expr"


@dataclass(frozen=True, slots=True)
class Num:
    """A number, rounded to the kernel's dtype."""

    value: "Expr"


@dataclass(frozen=True, slots=True)
class Spread:
    """One number in every lane."""

    value: "Expr"


@dataclass(frozen=True, slots=True)
class Pointwise:
    """An operation of `ir/ops.py`, on vectors or on single numbers.

    Among the vectors of "add", "sub", "mul" and "div" single numbers may stand, not all: each counts for every lane.
    """

    op: str
    args: tuple["Expr", ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Keep:
    """The first `count` lanes of a vector, and one number in the others."""

    value: "Expr"
    count: "Expr"
    other: "Expr"


@dataclass(frozen=True, slots=True)
class Fold:
    """The lanes of a vector made one number, by a reduction of `ir/ops.py`."""

    op: str
    value: "Expr"


def expr(x: "Expr | int") -> "Expr":
    return Int(x) if isinstance(x, int) else x


def offset(pointer: "Expr", by: "Expr | int") -> Offset:
    return Offset(pointer, expr(by))


Name = Var | Base | Row | RowStride
Expr = (
    Name | Parameter | Int | Float | Binary | Choice | Address | Offset | Load | LoadVector | ToInt | Num | Spread
    | Pointwise | Keep | Fold
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Assign:
    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Increase:
    """Adds an integer, or takes one away."""

    name: Name
    by: int


@dataclass(frozen=True, slots=True)
class Store:
    """One number."""

    pointer: Expr
    at: Expr
    value: Expr


@dataclass(frozen=True, slots=True)
class StoreVector:
    """A vector; with `count` only so many of its lanes."""

    pointer: Expr
    at: Expr
    value: Expr
    count: Expr | None = None


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of numbers: the pointer to the first, how far the next one is."""

    pointer: Expr
    stride: Expr


@dataclass(frozen=True, slots=True)
class Copy:
    """Copies `rows` rows of `width` numbers."""

    rows: Expr
    width: Expr
    source: Matrix
    to: Matrix


@dataclass(frozen=True, slots=True)
class Multiply:
    """`rows` rows of `depth` numbers times a packed matrix of `width` columns, by the product that the function takes.

    Args:
        adds: to what lies there, and writes nothing beside it; else what is beside it, up to whole vectors, is lost.
    """

    rows: Expr
    width: Expr
    depth: Expr
    factor: Matrix
    packed: Expr
    to: Matrix
    adds: bool = False


@dataclass(frozen=True, slots=True)
class For:
    """`variable` from `start` (None: 0) up to `stop`, by `step` (None: 1); downwards if that is negative."""

    variable: Var
    stop: Expr
    body: tuple["Statement", ...]
    start: Expr | None = None
    step: Expr | None = None
    note: str = ""  # for who reads the source


@dataclass(frozen=True, slots=True)
class While:
    condition: Expr
    body: tuple["Statement", ...]


@dataclass(frozen=True, slots=True)
class If:
    condition: Expr
    body: tuple["Statement", ...]


@dataclass(frozen=True, slots=True)
class Break:
    pass


@dataclass(frozen=True, slots=True)
class Continue:
    pass


Statement = Assign | Increase | Store | StoreVector | Copy | Multiply | For | While | If | Break | Continue
Body = tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A kernel: what it takes besides the addresses of arrays, these, and what it does."""

    name: str
    head: tuple[Var, ...]
    arrays: tuple[Buffer, ...]
    body: Body
