"""Graphs and loops as text: a line a row in the order in which the rows are computed, or a line a statement."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from .buffers import Target
from .expressions import Base, Binary, Float, Int, Parameter, Pointwise, Row, RowStride, Var
from .graph import Node, ancestors
from .loops import Function


def listing(roots: Iterable[Node], stores: Mapping[Node, Iterable[Target]]) -> list[str]:
    """Lines "name = operation [width]", each followed by where its row goes."""
    names: dict[Node, str] = {}
    lines = []
    for node in ancestors(roots):
        if node.op == "const":
            names[node] = f"{node.attr:g}"
        else:
            names[node] = f"r{len(names)}"
            lines.append(f"{names[node]} = {text(node, names)} [{node.width}]")
        for target in stores.get(node, ()):
            lines.append(f"    {names[node]} -> {target.buffer}[{target.at}:{target.at + node.width}]")
    return lines


def text(node: Node, names: Mapping[Node, str]) -> str:
    """One row in terms of others."""
    args = ", ".join(names[a] for a in node.args)
    match node.op:
        case "in":
            return f"{node.attr[0]}{node.attr[1]}"
        case "saved":
            return f"saved[{node.attr}:{node.attr + node.width}]"
        case "lookup":
            return f"row drive{node.attr[0]} of weight {node.attr[1].name}"
        case "vector":
            return f"weight {node.attr.name}"
        case "mm":
            return f"{args} @ m{node.attr}"
        case "slice":
            return f"{args}[{node.attr}:{node.attr + node.width}]"
    return f"{node.op}({args})"


def function_listing(function: Function) -> str:
    """A kernel's loops: a statement a line, its kind first."""
    head = ", ".join([*(var.name for var in function.head), *map(str, function.arrays)])
    return "\n".join([f"{function.name}({head})", *_statements(function.body)]) + "\n"


def _statements(body: Iterable[Any]) -> list[str]:
    lines = []
    for s in body:
        parts = [_expression(getattr(s, f.name)) for f in fields(s) if f.name not in ("body", "note")]
        lines.append(" ".join([type(s).__name__, *(part for part in parts if part)]))
        lines += _statements(getattr(s, "body", ()))
    return ["    " + line for line in lines]


def _expression(e: Any) -> str:
    match e:
        case None | False:
            return ""
        case Var(name):
            return name
        case Int(value) | Float(value):
            return repr(value)
        case Base(buffer) | Parameter(buffer):
            return str(buffer)
        case Row(buffer):
            return f"row({buffer})"
        case RowStride(buffer):
            return f"stride({buffer})"
        case Binary(sign, left, right):
            return f"({_expression(left)} {sign} {_expression(right)})"
        case Pointwise(op, args):
            return f"{op}({', '.join(map(_expression, args))})"
    if not is_dataclass(e):
        return str(e)
    return f"{type(e).__name__.lower()}({', '.join(t for f in fields(e) if (t := _expression(getattr(e, f.name))))})"
