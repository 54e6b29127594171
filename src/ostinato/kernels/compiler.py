"""The compiler: a step of plain PyTorch becomes the source of its scan, forward and backward, by these passes.

    trace       the step and its vector-Jacobian product as one graph of ATen operations
    lower       rows of numbers, and what becomes of them (`ir/graph.py`)
    plan        which rows forward keeps for backward, and the arrays over time that hold them (`ir/buffers.py`)
    legalise    every row that a product or a store takes lies in memory
    schedule    products, and loops over rows of one width between them
    loops       the loops around the stages, and in them (`ir/loops.py`)
    source      the text of a language

Each is a function of what the one before it gave, and `ostinato explain CELL --after PASS` prints any result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from torch import Tensor

from .build.build import Stages, build, build_stages
from .build.program import Program
from .ir import verify
from .ir.buffers import Buffer, Kind
from .ir.printer import function_listing
from .lower.lower import lower
from .passes.legalise import Placed, legalise
from .passes.listing import listing, placed_listing, reading_listing, schedule_listing
from .passes.plan import Plan, plan
from .passes.schedule import Stage, schedule
from .passes.verify import verify_placed, verify_plan, verify_reading
from .render.numba import render
from .trace.tracer import Step, trace

PASSES = ("trace", "lower", "plan", "legalise", "schedule", "loops", "source")
VERIFY = False  # whether every pass's result is checked: the tests do


@dataclass(frozen=True)
class Direction:
    """One direction of a scan, "forward", "backward" or "inference", after each pass."""

    name: str
    placed: Placed
    stages: tuple[Stage, ...]
    program: Program
    source: str


@dataclass(frozen=True)
class CompiledStep:
    """A step up to its plan, and its directions when they are asked for.

    Args:
        lanes: of a vector.
        inputs: features of x, by the number of each leaf of the drive that forward makes inside.
    """

    plan: Plan
    names: tuple[str, ...]
    lanes: int
    inputs: Mapping[int, int]

    @cached_property
    def directions(self) -> dict[str, Direction]:
        return {name: compile_direction(self.plan, name, self.lanes, self.inputs) for name in self.names}

    def after(self, name: str) -> str:
        """What a pass of PASSES gave, as text."""
        each = self.directions.items()
        match name:
            case "trace":
                return f"{self.plan.reading.trace.graph}\n"
            case "lower":
                return reading_listing(self.plan.reading)
            case "plan":
                return listing(self.plan)
            case "legalise":
                return "\n".join(placed_listing(direction, one.placed) for direction, one in each)
            case "schedule":
                return "\n".join(schedule_listing(direction, one.stages) for direction, one in each)
            case "loops":
                return "\n".join(function_listing(one.program.function) for _, one in each)
            case "source":
                return "\n\n".join(one.source for _, one in each)
        raise ValueError(f"one of the passes {', '.join(PASSES)} was expected, got {name!r}")


def compile_step(
    step: Step, drive: Any, state: Any, weights: Sequence[Tensor], lanes: int, gradients: bool = True,
    features: Mapping[int, int] = MappingProxyType({}), replayed: bool = False,
) -> CompiledStep:  # fmt: skip
    """Compiles a step for one choice of widths.

    Args:
        drive, state: trees of one row each, [features].
        weights: whose values do not matter.
        lanes: of a vector.
        gradients: False: the step alone is compiled, in the direction "inference".
        features: of x, by the number of each leaf of the drive that is a product with it, x W + b: forward then makes
            that in small parts, if backward does not want it.
        replayed: whether the step is a trace run again, whose sizes of the batch are numbers.

    Raises:
        Unsupported: an operation of the step is outside the vocabulary.
    """
    traced = trace(step, drive, state, weights, gradients, replayed)
    reading = lower(traced)
    if VERIFY:
        verify_reading(reading)
    planned = plan(reading)
    if VERIFY:
        verify_plan(planned)
    inputs = {i: n for i, n in features.items() if not planned.read_by_backward(Buffer(Kind.DRIVE, i))}
    return CompiledStep(planned, ("forward", "backward", "inference") if gradients else ("inference",), lanes, inputs)


def compile_direction(planned: Plan, name: str, lanes: int, inputs: Mapping[int, int]) -> Direction:
    """A plan's direction, down to its source."""
    # Beside a forward that trains, inference has always let its loops place such copies: its source, by which kernels
    # are kept, stays what it was.
    place_copies = name != "inference" or not planned.reading.trace.grad_out
    roots, widths = planned.roots(name), planned.state_widths
    again = _again(planned, lanes) if name == "backward" and planned.segment else None
    top = again.layout.scratch.top if again else 0
    placed = legalise(planned.reading.graph, roots, widths, lanes, place_copies, top)
    if VERIFY:
        verify_placed(placed)
    stages = tuple(schedule(placed.roots))
    program = build(planned, placed, stages, name, lanes, inputs, again)
    if VERIFY:
        verify.function(program.function)
    return Direction(name, placed, stages, program, render(program.function))


def _again(planned: Plan, lanes: int) -> Stages:
    """The stages of forward that backward computes again."""
    placed = legalise(planned.reading.graph, planned.roots("again"), planned.state_widths, lanes)
    if VERIFY:
        verify_placed(placed)
    return build_stages(planned, placed, schedule(placed.roots), lanes)
