"""A plan as text: the rows that each direction computes, and where they go."""

from .ir import Node, ancestors
from .plan import Factor, Plan, Root


def listing(plan: Plan) -> str:
    """Forward and backward, a line a row: name, operation, width; `->` stores a row; last the gradients of weights.

    A row lies at an offset in an array over time (`plan.Plan` says which there are); `next0` is the state after the
    step, or its gradient before it.
    """
    parts = []
    for name, roots in (("forward", plan.forward), ("backward", plan.backward)):
        parts.append(f"{name}\n" + "\n".join("    " + line for line in _direction(roots)))
    products = [
        f"    {node.name} = {_columns(left)}^T {_columns(right)}"
        + (", one step late" if left.before or right.before else "")
        for node, left, right in plan.products
    ]
    totals = [f"    {node.name} = the sum of sums[{at}:{at + width}]" for node, at, width in plan.totals]
    if products or totals:
        parts.append("\n".join(["over all steps", *products, *totals]))
    return "\n\n".join(parts) + "\n"


def _columns(factor: Factor) -> str:
    return f"{factor.array}[{factor.at}:{factor.at + factor.width}]"


def _direction(roots: list[Root]) -> list[str]:
    names: dict[Node, str] = {}
    stores: dict[Node, list[str]] = {}
    for node, (base, at) in roots:
        stores.setdefault(node, []).append(f"{base}[{at}:{at + node.width}]")
    lines = []
    for node in ancestors(node for node, _ in roots):
        if node.op == "const":
            names[node] = f"{node.attr:g}"
        else:
            names[node] = f"r{len(names)}"
            lines.append(f"{names[node]} = {_text(node, names)} [{node.width}]")
        lines += [f"    {names[node]} -> {place}" for place in stores.get(node, ())]
    return lines


def _text(node: Node, names: dict[Node, str]) -> str:
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
