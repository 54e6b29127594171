"""The loop IR as the source of a function of integers for Numba.

Vectors and pointers are those of `cpu/simd`: `load`, `store_n`, `v_exp`, `at(p, i)` (a pointer i numbers beyond p) and
`ptr(i)` (of an address). A pointer is named as its array is, `p_` before it is the address, `_` behind it a row.
"""

import math
from collections.abc import Iterable

from ..ir.expressions import (
    Address,
    Base,
    Binary,
    Choice,
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
    Parameter,
    Pointwise,
    Row,
    RowStride,
    Spread,
    ToInt,
    Type,
    Var,
)  # fmt: skip
from ..ir.loops import (
    Assign,
    Break,
    Continue,
    Copy,
    For,
    Function,
    If,
    Increase,
    Matrix,
    Multiply,
    Scatter,
    Statement,
    Store,
    StoreVector,
    While,
)  # fmt: skip
from ..ir.ops import POINTWISE, REDUCTIONS, missing

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
COMPARED = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
# Single numbers, of which there are few: plain Python, in float64.
SCALAR = {
    "sqrt": "math.sqrt({})", "exp": "math.exp({})", "log": "math.log({})", "tanh": "math.tanh({})", "abs": "abs({})",
    "erf": "math.erf({})", "sigmoid": "(1 / (1 + math.exp(-{})))", "neg": "(-{})", "relu": "(0.0 if {0} < 0 else {0})",
    # Python's max and min lose a NaN.
    "maximum": "({0} if {0} > {1} or {0} != {0} else {1})", "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
    "log2": "math.log2({})", "log10": "math.log10({})", "erfc": "math.erfc({})",
    "fmod": "math.copysign(abs({0}) % abs({1}), {0})",
    "copysign": "math.copysign({}, {})",
    "sin": "math.sin({})", "cos": "math.cos({})", "atan": "math.atan({})", "expm1": "math.expm1({})",
    # Of floating numbers, and not by way of whole ones, which hold no infinity.
    "floor": "({0} - {0} % 1.0 if abs({0}) < 2.0**52 else {0})", "pow": "math.pow({}, {})",
    "round": "(({0} + 1.5 * 2.0**52) - 1.5 * 2.0**52 if abs({0}) < 2.0**51 else {0})",
    "sign": "(float({0} > 0) - float({0} < 0))", "where": "({1} if {0} != 0 else {2})",
    **{name: f"({{}} {sign} {{}})" for name, sign in INFIX.items()},
    **{name: f"(1.0 if {{}} {sign} {{}} else 0.0)" for name, sign in COMPARED.items()},
}  # fmt: skip
# Vectors: those of INFIX by their signs, the others by functions.
VECTOR = (
    "neg", "relu", "abs", "sign", "floor", "round", "maximum", "minimum", *COMPARED, "where", "exp", "log", "tanh",
    "sigmoid", "sqrt", "erf", "expm1", "sin", "cos", "atan", "pow", "log2", "log10", "erfc", "fmod", "copysign",
)  # fmt: skip
ACROSS = {"sum": "hsum({})", "amax": "hmax({})"}
missing(SCALAR, POINTWISE, "render/numba.py, on single numbers,")
missing((*INFIX, *VECTOR), POINTWISE, "render/numba.py, on vectors,")
missing(ACROSS, REDUCTIONS, "render/numba.py, across lanes,")

BINDS = {"and": 1, "==": 2, "!=": 2, "<": 2, "<=": 2, ">": 2, ">=": 2, "&": 3, "+": 4, "-": 4, "*": 5, "//": 5, "%": 5}


def render(function: Function) -> str:
    """The source of a function."""
    names = [*(var.name for var in function.head), *(f"p_{buffer}" for buffer in function.arrays)]
    return "\n".join([f"def {function.name}({', '.join(names)}):", *_block(function.body)]) + "\n"


def _block(body: Iterable[Statement]) -> list[str]:
    return ["    " + line for statement in body for line in _lines(statement)] or ["    pass"]


def _lines(s: Statement) -> list[str]:
    match s:
        case For(variable, stop, body, start, step, note):
            ends = ", ".join(_text(e) for e in (start, stop, step) if e is not None)
            return [f"for {variable.name} in range({ends}):" + (f"  # {note}" if note else ""), *_block(body)]
        case While(condition, body):
            return [f"while {_text(condition)}:", *_block(body)]
        case If(condition, body):
            return [f"if {_text(condition)}:", *_block(body)]
        case Break():
            return ["break"]
        case Continue():
            return ["continue"]
    return [_simple(s)]


def _simple(s: Statement) -> str:
    match s:
        case Assign(name, value):
            return f"{_text(name)} = {_text(value)}"
        case Increase(name, by):
            return f"{_text(name)} {'-' if by < 0 else '+'}= {abs(by)}"
        case Store(pointer, at, value):
            return f"store1({_texts(pointer, at, value)})"
        case StoreVector(pointer, at, value, None):
            return f"store({_texts(pointer, at, value)})"
        case StoreVector(pointer, at, value, count) if count:
            return f"store_n({_texts(pointer, at, value, count)})"
        case Scatter(pointer, at, distance, value, count):
            return f"scatter({_texts(pointer, at, Int(distance), value, count)})"
        case Copy(rows, width, source, to):
            return f"copy({_texts(rows, width, source, to)})"
        case Multiply(rows, width, depth, factor, packed, to, exact=False, adds=False):
            return f"call_product(multiply, {_texts(rows, width, depth, factor, packed, to)})"
        case Multiply(rows, width, depth, factor, packed, to):
            return f"call_exact(multiply, {_texts(rows, width, depth, factor, Int(1), packed, to, Int(int(s.adds)))})"
    raise TypeError(f"a statement of ir/loops.py was expected, got {s!r}")


def _texts(*parts: Expr | Matrix) -> str:
    flat = [e for part in parts for e in ((part.pointer, part.stride) if isinstance(part, Matrix) else (part,))]
    return ", ".join(map(_text, flat))


def _text(e: Expr) -> str:
    match e:
        case Var(name):
            return name
        case Parameter(buffer):
            return f"p_{buffer}"
        case Base(buffer):
            return str(buffer)
        case Row(buffer):
            return f"{buffer}_"
        case RowStride(buffer):
            return f"{buffer}_ld"
        case Int(value):
            return str(value)
        case Float(x):
            return repr(x) if math.isfinite(x) else f"math.{x}" if x > 0 or x != x else "-math.inf"
        case Binary():
            return _binary(e)
        case Choice(condition, yes, no):
            return f"{_text(yes)} if {_text(condition)} else {_text(no)}"
    return _call(e)


def _call(e: Expr) -> str:
    match e:
        case Address(integer):
            return f"ptr({_text(integer)})"
        case Offset(pointer, by):
            return f"at({_texts(pointer, by)})"
        case Load(pointer, at):
            return f"load1({_texts(pointer, at)})"
        case LoadVector(pointer, at, None):
            return f"load({_texts(pointer, at)})"
        case LoadVector(pointer, at, count) if count:
            return f"load_n({_texts(pointer, at, count)})"
        case Gather(pointer, at, distance, count):
            return f"gather({_texts(pointer, at, Int(distance), count)})"
        case ToInt(value):
            return f"int({_text(value)})"
        case Num(value):
            return f"num({_text(value)})"
        case Spread(value):
            return f"spread(num({_text(value)}))"
        case Keep(value, count, other):
            return f"keep_n({_texts(value, count, Num(other))})"
        case Fold(op, value):
            return ACROSS[op].format(_text(value))
        case Pointwise(op, args, Type.NUMBER):
            return SCALAR[op].format(*map(_text, args))
        case Pointwise(op, args) if op in INFIX:
            return f" {INFIX[op]} ".join(map(_text, args))
        case Pointwise(op, args):
            return f"v_{op}({_texts(*args)})"
    raise TypeError(f"an expression of ir/loops.py was expected, got {e!r}")


def _binary(e: Binary) -> str:
    if e.sign in ("min", "max"):
        return f"{e.sign}({_texts(e.left, e.right)})"
    # & binds more loosely than arithmetic, which few remember.
    least = 9 if e.sign == "&" else BINDS[e.sign]
    left, right = (_text(x) for x in (e.left, e.right))
    if isinstance(e.left, Binary) and BINDS.get(e.left.sign, 9) < least:
        left = f"({left})"
    regroups = isinstance(e.right, Binary) and e.sign == e.right.sign and e.sign in ("+", "*")
    if isinstance(e.right, Binary) and not regroups and BINDS.get(e.right.sign, 9) <= least:
        right = f"({right})"
    return f"{left} {e.sign} {right}"
