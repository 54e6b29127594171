"""What a lowered step and its plan must hold, besides well-formed graphs."""

from ..ir import verify
from ..ir.buffers import SAVED
from ..ir.graph import ancestors
from ..lower.step_graph import StepGraph
from .legalise import Placed
from .plan import Plan


def verify_reading(reading: StepGraph) -> None:
    """A lowered step: its graph, and each result as wide as what it was traced as.

    Raises:
        MalformedError: something in it is wrong.
    """
    trace = reading.trace
    values = [reading.out, *reading.new_state, *reading.ddrive, *reading.dstate]
    nodes = [trace.out, *trace.new_state, *trace.drive, *trace.state]
    factors = [n for p in reading.products for n in (p.left, p.right)]
    totals = [n for total in reading.totals for n in total.value]
    verify.graph([*(n for value in values for n in value), *factors, *totals], _leaves(reading))
    verify.traced_widths(zip(values, nodes, strict=True))


def verify_plan(plan: Plan) -> None:
    """A plan: the graphs of both directions, each root inside the array that it is stored in.

    Raises:
        MalformedError: something in it is wrong.
    """
    leaves = _leaves(plan.reading) | {("after", i) for i in plan.history}
    widths = {**plan.sequences, **plan.held}
    saved = widths.get(SAVED, 0)
    verify.graph((n for n, _ in plan.forward), leaves, 0)
    verify.graph((n for n, _ in plan.backward), leaves, saved)
    for n, target in (*plan.forward, *plan.backward):
        width = widths.get(target.buffer)
        if width is not None and target.at + n.width > width:
            raise verify.MalformedError(f"{n} at {target} ends past the {width} numbers of its array")


def verify_placed(placed: Placed) -> None:
    """What a kernel computes: its graph, and every row that is put together of several lies where its parts are stored.

    Raises:
        MalformedError: something in it is wrong.
    """
    verify.graph(placed.roots)
    for n in ancestors(placed.roots):
        if n.op in ("cat", "join"):
            if n not in placed.place:
                raise verify.MalformedError(f"{n} of {list(n.args)} lies nowhere")
            buffer = placed.place[n].buffer
            for part in n.args:
                if all(target.buffer != buffer for target in placed.stores.get(part, ())):
                    raise verify.MalformedError(f"{part} is not stored in {buffer}, where {n} lies")


def _leaves(reading: StepGraph) -> set[tuple[str, int]]:
    trace = reading.trace
    kinds = {"drive": trace.drive, "state": trace.state, "cot": trace.grad_out, "dstate": trace.dstate}
    return {(kind, i) for kind, nodes in kinds.items() for i in range(len(nodes))}
