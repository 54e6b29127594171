"""Random steps through derived kernels. Oracle: the reference loop and autograd, in float64.

Emitted source runs as plain Python here; `python -m benchmarks fuzz` runs thousands, and compiled ones too.
"""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from plain_machine import Plain
from random_steps.compare import FAULTS, NUDGE, Outcome, compare, inputs, reason
from random_steps.grammar import case
from random_steps.program import Call, Case, Instruction, Program, leaves_of, tree_of
from random_steps.smaller import smallest

drawn = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example]
)


@st.composite
def cases(draw: Any, axes: int = 3) -> Case:
    return case(lambda stop: draw(st.integers(0, stop - 1)), axes)


class Flat(Plain):
    """A broken machine: its tanh is a little too flat."""

    def scope(self) -> dict[str, Any]:
        return super().scope() | {"v_tanh": lambda x: 0.99 * np.tanh(x)}


def breaks(step: Case) -> bool:
    """By that tanh alone: what is wrong on a sound machine too is another fault."""
    return "tanh" in step.source and compare(step, machine=Flat).kind == "wrong" and compare(step).kind == "equal"


@given(drawn_case=cases())
@settings(drawn, max_examples=20)
def test_a_random_step_is_the_loop(drawn_case: Case) -> None:
    outcome = compare(drawn_case)
    assert outcome.kind not in FAULTS, f"{outcome}\n{drawn_case.source}"


def test_most_random_steps_of_rows_are_taken() -> None:
    """Or the test above would hold of a kernel that refuses everything."""
    counts: Counter[str] = Counter()
    for seed in range(24):
        step = case(random.Random(seed).randrange, axes=1)
        outcome = compare(step)
        assert outcome.kind not in FAULTS, f"{outcome}\n{step.source}"
        counts[outcome.kind] += 1
    assert counts["equal"] >= 12, counts


def test_a_broken_machine_is_found_and_its_step_made_small() -> None:
    """Oracle: the smallest step that a wrong tanh can break is one tanh."""

    steps = (case(random.Random(seed).randrange, axes=1) for seed in range(1000))
    least = smallest(next(step for step in steps if breaks(step)), breaks)
    assert len(least.program.body) == 1
    assert "tanh" in least.program.body[0].template


def test_hypothesis_finds_a_broken_machine_too() -> None:
    sizes = []

    @given(drawn_case=cases(axes=1))
    @settings(drawn, max_examples=60, phases=(Phase.generate, Phase.shrink))
    def holds(drawn_case: Case) -> None:
        if breaks(drawn_case):
            sizes.append(len(drawn_case.program.body))
            raise AssertionError

    with pytest.raises(AssertionError):
        holds()
    assert sizes[-1] <= 3


STEP = Program(((4,),), ((4,),), (), ("bare", "dict"), (Instruction("v0", "{0} + {1}", ("d0", "s0")),), "v0", ("v0",))


def test_a_step_prints_as_source_that_one_can_paste() -> None:
    assert STEP.source == 'def step(d, s):\n    d0 = d\n    s0 = s["a"]\n    v0 = d0 + s0\n    return v0, {"a": v0}\n'


@pytest.mark.parametrize(
    ("template", "kind"), [("{0} + {1}", "equal"), ("({0} + {1}).sort(-1).values", "refused"), ("{0} / 0", "uncounted")]
)
def test_outcomes_are_told_apart(template: str, kind: str) -> None:
    line = Instruction("v0", template, ("d0", "s0"))
    assert compare(Case(replace(STEP, body=(line,)), Call(lengths=True))).kind == kind


def test_a_nudge_moves_each_number_a_little_and_no_other_thing() -> None:
    """Or every step would look as if rounding decided."""
    step = Case(STEP, Call(lengths=True, resets=True, initial=True))
    (leaves, initial, options), (moved, started, same) = inputs(step), inputs(step, NUDGE)
    for name, t in (leaves | initial).items():
        other = (moved | started)[name]
        assert not t.equal(other)
        assert ((t - other).abs() <= 10 * NUDGE * t.abs()).all()
    assert all(t.equal(same[name]) for name, t in options.items())


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "turned", "named", "nested"])
def test_trees_are_taken_apart_as_they_are_made(kind: str) -> None:
    assert leaves_of(kind, tree_of(kind, [1, 2, 3]), 3) == [1, 2, 3]


def test_reasons_of_many_steps_are_one() -> None:
    said = "the operation sort is outside the vocabulary (<string>, line 3: v0 = d0.sort(-1))"
    assert reason(said) == "the operation sort is outside the vocabulary"
    assert reason("it cuts a row of 64 into [3, 4]") == "it cuts a row of N into [..]"
    assert Outcome("equal") == ("equal", "", 0.0)
