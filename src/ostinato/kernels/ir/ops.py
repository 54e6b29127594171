"""The table of operations: all that a node of a step's graph can be.

A pass asks the table what an operation is; a renderer declares how it spells each one, and `missing` says at its import
which it lacks. So a new operation is one row here and one line in each renderer.

`meaning` is on numbers (Python floats): the oracle of a renderer's vectors and single numbers. Comparisons give 1.0 or
0.0, and `where` takes anything but 0.0 for true.
"""

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum


class OpKind(Enum):
    """What becomes of the rows of the arguments."""

    LEAF = "a row from outside the graph"
    VIEW = "the numbers of its arguments, elsewhere or in other places"
    POINTWISE = "each place by itself"
    REDUCTION = "numbers along axes made one"
    PRODUCT = "rows times a matrix"


@dataclass(frozen=True)
class Op:
    """One operation.

    Args:
        arity: how many arguments it takes; None: any number, at least one.
        expensive: kept for backward rather than computed again.
        meaning: on the numbers of one place; of a reduction on two of them. None where it computes nothing.
        joins: of a reduction: the pointwise operation that joins two numbers.
        neutral: of a reduction: the number that changes nothing.
    """

    name: str
    kind: OpKind
    arity: int | None
    expensive: bool = False
    meaning: Callable[..., float] | None = None
    joins: str = ""
    neutral: float = math.nan


def _or_nan(choose: Callable[[float, float], float]) -> Callable[[float, float], float]:
    """Python's max and min, which lose a NaN, with it."""
    return lambda x, y: x if x != x else y if y != y else choose(x, y)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def _round(x: float) -> float:
    return float(round(x)) if math.isfinite(x) else x


def _floor(x: float) -> float:
    return float(math.floor(x)) if math.isfinite(x) else x


def _sign(x: float) -> float:
    return float(x > 0) - float(x < 0)


def _truth(compare: Callable[[float, float], bool]) -> Callable[[float, float], float]:
    return lambda x, y: float(compare(x, y))


def _table() -> Iterable[Op]:
    for name in ("in", "vector", "const", "saved", "lookup"):
        yield Op(name, OpKind.LEAF, 0)
    yield Op("slice", OpKind.VIEW, 1)
    yield Op("view", OpKind.VIEW, 1)
    yield Op("cat", OpKind.VIEW, None)
    yield Op("join", OpKind.VIEW, None)
    yield Op("spread", OpKind.VIEW, 1, meaning=float)
    yield Op("copy", OpKind.VIEW, 1, meaning=float)
    yield Op("mm", OpKind.PRODUCT, 1, expensive=True)
    yield Op("sum", OpKind.REDUCTION, 1, True, operator.add, "add", 0.0)
    yield Op("amax", OpKind.REDUCTION, 1, True, _or_nan(max), "maximum", -math.inf)
    cheap: dict[str, tuple[int, Callable[..., float]]] = {
        "neg": (1, lambda x: -x), "relu": (1, lambda x: 0.0 if x < 0 else x), "abs": (1, lambda x: abs(x)),
        "sign": (1, _sign), "floor": (1, _floor), "round": (1, _round),
        "maximum": (2, _or_nan(max)), "minimum": (2, _or_nan(min)),
        "add": (2, operator.add), "sub": (2, operator.sub), "mul": (2, operator.mul),
        "gt": (2, _truth(operator.gt)), "ge": (2, _truth(operator.ge)), "lt": (2, _truth(operator.lt)),
        "le": (2, _truth(operator.le)), "eq": (2, _truth(operator.eq)), "ne": (2, _truth(operator.ne)),
        "copysign": (2, math.copysign), "where": (3, lambda c, x, y: x if c != 0 else y),
    }  # fmt: skip
    for name, (arity, meaning) in cheap.items():
        yield Op(name, OpKind.POINTWISE, arity, False, meaning)
    expensive: dict[str, tuple[int, Callable[..., float]]] = {
        "exp": (1, math.exp), "log": (1, math.log), "tanh": (1, math.tanh), "sigmoid": (1, _sigmoid),
        "sqrt": (1, math.sqrt), "erf": (1, math.erf), "expm1": (1, math.expm1), "sin": (1, math.sin),
        "cos": (1, math.cos), "atan": (1, math.atan), "pow": (2, math.pow), "div": (2, operator.truediv),
        "log2": (1, math.log2), "log10": (1, math.log10), "erfc": (1, math.erfc), "fmod": (2, math.fmod),
    }  # fmt: skip
    for name, (arity, meaning) in expensive.items():
        yield Op(name, OpKind.POINTWISE, arity, True, meaning)


OPS: dict[str, Op] = {op.name: op for op in _table()}


def names(kind: OpKind) -> frozenset[str]:
    return frozenset(op.name for op in OPS.values() if op.kind is kind)


LEAVES, VIEWS, REDUCTIONS = names(OpKind.LEAF), names(OpKind.VIEW), names(OpKind.REDUCTION)
# In the order of the table.
POINTWISE = {op.name: op.arity for op in OPS.values() if op.kind is OpKind.POINTWISE}
EXPENSIVE = frozenset(op.name for op in OPS.values() if op.expensive)


def missing(covered: Iterable[str], wanted: Iterable[str], what: str) -> None:
    """Checks what a renderer covers.

    Raises:
        NotImplementedError: operations of the table that it does not spell, or names that the table does not have.
    """
    covered, wanted = set(covered), set(wanted)
    if lacks := sorted(wanted - covered):
        raise NotImplementedError(f"{what} must spell every operation of ir/ops.py; it lacks {', '.join(lacks)}")
    if odd := sorted(covered - wanted):
        raise NotImplementedError(f"{what} spells {', '.join(odd)}, which ir/ops.py does not have; add a row there")
