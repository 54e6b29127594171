"""A direction's stages as a program in the loop IR."""

from collections.abc import Mapping, Sequence

from ..ir.buffers import Buffer, Kind
from ..ir.loops import Function, Statement
from ..passes.legalise import Placed
from ..passes.plan import Plan
from ..passes.schedule import Loop, Multiply, Stage
from . import input_product
from .fused_loop import fused_loop
from .layout import Layout
from .product import multiply, rows_of
from .program import Program, StepProgram
from .segment_loop import SegmentLoop, Stages
from .time_loop import HEAD, TimeLoop

MANY = 8  # rows of a product that need no others


def build_stages(plan: Plan, placed: Placed, stages: Sequence[Stage], lanes: int) -> Stages:
    """The stages of forward, to be computed inside backward."""
    layout = Layout(plan, placed, False, lanes, {})
    return Stages(layout, _stages(layout, stages))


def build(
    plan: Plan, placed: Placed, stages: Sequence[Stage], direction: str, lanes: int, inputs: Mapping[int, int],
    again: Stages | None = None,
) -> Program:  # fmt: skip
    """The program of a direction.

    Args:
        inputs: features of x, by the number of each leaf of the drive that is made inside.
        again: of backward, where the steps of a segment are computed again; `placed` leaves its scratch alone.
    """
    leaves = {Buffer(Kind.DRIVE, i): features for i, features in inputs.items()}
    layout = Layout(plan, placed, direction == "backward", lanes, leaves, again and again.layout)
    body = _stages(layout, stages)
    if again:
        loop: TimeLoop = SegmentLoop(layout, again)
    else:
        loop = TimeLoop(layout, checks=direction == "forward" and plan.segment > 0)
    # An odd number of vectors: rows spread over the cache's sets.
    vectors = layout.scratch.top // lanes
    room = (vectors + 1 - vectors % 2) * lanes
    wide = loop.inside.room()
    arrays = loop.arrays()
    columns = {Buffer(Kind.MATRIX, i): node.meta["val"].shape[1] for i, node in enumerate(plan.reading.matrices)}
    columns |= {Buffer(Kind.INPUT_MATRIX, i): plan.drive_widths[i] for i in inputs}
    return Program(
        Function(direction, HEAD, arrays, loop.body(body, room)),
        room + wide,
        (input_product.TOGETHER + 1) * wide,
        {buffer: node.attr for node, buffer in layout.vectors.items()},
        {buffer: node.attr[1] for node, buffer in layout.tables.items()},
        {array: columns[array] for array in arrays if array in columns},
        not inputs and all(rows_of(plan, stage.node) >= MANY for stage in stages if isinstance(stage, Multiply)),
    )


def build_step(plan: Plan, placed: Placed, stages: Sequence[Stage]) -> StepProgram:
    """The stages of the direction "inference", for one step of one row, one number at a time.

    Args:
        placed: with vectors of one lane.
    """
    layout = Layout(plan, placed, False, 1, {})
    body = _stages(layout, stages)
    slots = 2 * sum(plan.state_widths)  # they come first, and lie elsewhere here
    return StepProgram(
        body,
        slots,
        layout.scratch.top - slots,
        {buffer: node.attr for node, buffer in layout.vectors.items()},
        {buffer: node.attr[1] for node, buffer in layout.tables.items()},
        {buffer: plan.reading.matrices[buffer.number] for buffer in layout.used if buffer.kind is Kind.MATRIX},
    )


def _stages(layout: Layout, stages: Sequence[Stage]) -> tuple[Statement, ...]:
    """The stages. The last is built first: what a later one loads an earlier one must store."""
    staged = {n for stage in stages if isinstance(stage, Loop) for n in stage.nodes}
    body: list[Statement | None] = []
    for stage in reversed(stages):
        if isinstance(stage, Loop):
            body.append(fused_loop(layout, stage, staged))
        else:
            body.append(multiply(layout, stage.node, Buffer(Kind.MATRIX, stage.node.attr)))
    return tuple(statement for statement in reversed(body) if statement is not None)
