"""The loops of a kernel: what is computed, in which order, on which memory; nothing about a language.

A function takes integers: sizes, addresses of arrays, and the address of the product.

    For(r, stop=R, body=(                       for r in range(R):
        Assign(Row(x), offset(Base(x), ...)),       x_ = at(x, ...)
        StoreVector(Row(x), j, v0)))                store(x_, j, v0)
"""

from dataclasses import dataclass

from .buffers import Buffer
from .expressions import Expr, Name, Var


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
