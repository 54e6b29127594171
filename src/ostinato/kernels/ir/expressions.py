"""What a kernel's loops compute with: integers, pointers, single numbers and vectors; nothing about a language.

A vector holds as many numbers as the machine has lanes (in C one). Addresses are expressions: a pointer, and how many
numbers beyond it.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

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

    def __add__(self: Any, other: "Expr | int") -> "Binary":
        return Binary("+", self, expr(other))

    def __sub__(self: Any, other: "Expr | int") -> "Binary":
        return Binary("-", self, expr(other))

    def __mul__(self: Any, other: "Expr | int") -> "Binary":
        return Binary("*", self, expr(other))

    def __mod__(self: Any, other: "Expr | int") -> "Binary":
        return Binary("%", self, expr(other))

    def __and__(self: Any, other: "Expr | int") -> "Binary":
        return Binary("&", self, expr(other))

    def is_(self: Any, sign: str, other: "Expr | int") -> "Binary":
        """A comparison: `x.is_("<=", 3)`."""
        return Binary(sign, self, expr(other))


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
class Gather:
    """A vector of numbers at a distance from each other; with `count` only so many are read, and zeros stand behind."""

    pointer: "Expr"
    at: "Expr"
    distance: int
    count: "Expr"


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


Index = Var | RowStride | Int | Binary  # what one adds to and multiplies
Name = Var | Base | Row | RowStride
Expr = (
    Name | Parameter | Int | Float | Binary | Choice | Address | Offset | Load | LoadVector | Gather | ToInt | Num
    | Spread | Pointwise | Keep | Fold
)  # fmt: skip
