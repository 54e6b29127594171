"""What the passes decide, as text: for those who read `ostinato explain CELL --after PASS`."""

from collections.abc import Iterable

from ..ir.buffers import Target
from ..ir.graph import Node, Value, ancestors
from ..ir.printer import listing as graph_listing
from ..ir.printer import text
from ..lower.step_graph import StepGraph
from .legalise import Placed
from .plan import Factor, Plan, Root
from .schedule import Multiply, Stage


def listing(plan: Plan) -> str:
    """Forward and backward, a line a row: name, operation, width; `->` stores a row; last the gradients of weights.

    A row lies at an offset in an array over time (`ir/buffers.py` says which there are); `next0` is the state after the
    step, or its gradient before it.
    """
    parts = [_block(name, _rows(roots)) for name, roots in (("forward", plan.forward), ("backward", plan.backward))]
    products = [
        f"    {node.name} = {_columns(left)}^T {_columns(right)}"
        + (", one step late" if left.before or right.before else "")
        for node, left, right, _ in plan.products
    ]
    totals = [f"    {total.node.name} = the sum of sums[{at}:{at + width}]" for total, at, width in plan.totals]
    if products or totals:
        parts.append("\n".join(["over all steps", *products, *totals]))
    return "\n\n".join(parts) + "\n"


def reading_listing(reading: StepGraph) -> str:
    """A lowered step: the rows of its results and of their gradients, before anything is decided about them."""
    groups = {"out": [reading.out], "state": reading.new_state, "drive's gradient": reading.ddrive,
              "state's gradient": reading.dstate, "factors of weights' gradients": [(n,) for p in reading.products
              for n in (p.left, p.right)], "sums": [total.value for total in reading.totals]}  # fmt: skip
    values = [value for group in groups.values() for value in group]
    names: dict[Node, str] = {}
    lines = []
    for node in ancestors(node for value in values for node in value):
        names[node] = f"r{len(names)}"
        shown = f"{node.attr:g}" if node.op == "const" else text(node, names)
        lines.append(f"{names[node]} = {shown} {list(node.shape)}")
    results = [f"{name} {number}: {_side_by_side(value, names)}"
               for name, group in groups.items() for number, value in enumerate(group)]  # fmt: skip
    return f"{_block('rows', lines)}\n\n{_block('results', results)}\n"


def placed_listing(name: str, placed: Placed) -> str:
    """A direction's rows as a kernel can compute them; `at` tells where a row lies that is read from there."""
    lines = graph_listing(placed.roots, placed.stores)
    places = [f"{node.op} {list(node.shape)} at {target}" for node, target in placed.place.items()]
    return f"{_block(name, [*lines, *places])}\n"


def schedule_listing(name: str, stages: Iterable[Stage]) -> str:
    """A direction's stages, in order."""
    lines = []
    for stage in stages:
        if isinstance(stage, Multiply):
            lines.append(f"multiply by m{stage.node.attr} [{stage.node.width}]")
        else:
            lines.append(f"loop {list(stage.shape)}: {' '.join(node.op for node in stage.nodes)}")
    return f"{_block(name, lines)}\n"


def _block(title: str, lines: Iterable[str]) -> str:
    return "\n".join([title, *("    " + line for line in lines)])


def _side_by_side(value: Value, names: dict[Node, str]) -> str:
    return " | ".join(names[node] for node in value)


def _columns(factor: Factor) -> str:
    return f"{factor.array}[{factor.at}:{factor.at + factor.width}]"


def _rows(roots: Iterable[Root]) -> list[str]:
    stores: dict[Node, list[Target]] = {}
    for node, target in roots:
        stores.setdefault(node, []).append(target)
    return graph_listing(stores, stores)
