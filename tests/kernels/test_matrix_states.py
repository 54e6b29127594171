"""Steps with a matrix as state. Oracles: the papers' formulas in NumPy (of the walk), the walk (of the kernels)."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from test_emit import B, T, compare, ragged
from torch import Tensor

from matrix_oracles import ORACLES
from matrix_steps import CASES, Given, Sizes
from ostinato import kernels, tree
from ostinato.kernels import dispatch
from ostinato.kernels.passes import plan
from plain_machine import Plain
from steps import step_of

BACKEND = "numba"
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}  # relative to the largest entry of each tensor
DOUBLE, SINGLE = torch.float64, torch.float32

# Each is a kernel to compile: N of 1, 3, 7, 16, 17, K and V of 1, 5, 16, 33, heads of 1, 3, 8 are among them. None in
# float32 has a gradient that is one number: mLSTM's of one gate is a sum whose terms cancel, for the loop too.
COMPILED = [
    ("s6", DOUBLE, Sizes(3, 7)), ("s6", DOUBLE, Sizes(1, 17)), ("s6", SINGLE, Sizes(16, 33)),
    ("mamba2", DOUBLE, Sizes(17, 5, 3)), ("mamba2", SINGLE, Sizes(7, 16, 8)),
    ("gla", DOUBLE, Sizes(5, 33, 1)), ("gla", SINGLE, Sizes(16, 16, 8)),
    ("gated_delta", DOUBLE, Sizes(33, 5, 3)), ("gated_delta", DOUBLE, Sizes(1, 1, 1)),
    ("gated_delta", SINGLE, Sizes(16, 16, 1)),
    ("kda", DOUBLE, Sizes(16, 5, 8)), ("kda", SINGLE, Sizes(33, 33, 1)),
    ("rwkv7", DOUBLE, Sizes(5, 5, 8)), ("rwkv7", SINGLE, Sizes(16, 33, 3)),
    ("mlstm", DOUBLE, Sizes(1, 5, 3)), ("mlstm", SINGLE, Sizes(16, 33, 3)),
    ("m2rnn", DOUBLE, Sizes(5, 1, 3)), ("m2rnn", SINGLE, Sizes(33, 16, 8)),
]  # fmt: skip
# B, T and what is given besides.
RUNS = [(1, 1, ""), (4, 2, "lengths"), (2, 2, "resets"), (3, 33, ""), (5, 33, "lengths resets initial")]


@pytest.mark.parametrize("sizes", [Sizes(3, 2, 2), Sizes(1, 1, 1), Sizes(5, 4, 1)])
@pytest.mark.parametrize("name", CASES)
def test_the_walk_is_what_the_paper_says(name: str, sizes: Sizes) -> None:
    """Oracle: NumPy, row by row."""
    torch.manual_seed(0)
    recurrence, make = CASES[name]
    drive, state, weights = make(3, 7, sizes, DOUBLE)
    steps = list(recurrence.walk(drive, state, *weights))
    out, last = torch.stack([step.out for step in steps], dim=1), tree.leaves(steps[-1].state)
    for row in range(3):
        parts = [[leaf[row].numpy() for leaf in tree.leaves(part)] for part in (drive, state)]
        y, after = ORACLES[name](*parts, *(w.numpy() for w in weights))
        for got, want in zip([out, *last], [y, *after], strict=True):
            np.testing.assert_allclose(got[row].numpy(), want, rtol=0, atol=1e-12 * max(1, abs(want).max()))


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_at_most_25_lines(name: str) -> None:
    """What makes "written as a user would" a number: code of gates and update, blank lines and docstrings apart."""
    recurrence = CASES[name].recurrence
    functions = [f for f in (recurrence.gates, recurrence.update) if f is not None]
    code = [inspect.getsource(f).replace(f.__doc__ or "\0", "").splitlines() for f in functions]
    assert sum(bool(line.strip()) for lines in code for line in lines) <= 25


def marks(kind: str, rows: int, steps: int, state: Any) -> dict[str, Any]:
    """Lengths (a zero and the whole are among them), resets and the state that these return to."""
    given: dict[str, Any] = {}
    if "lengths" in kind:
        given["lengths"] = torch.arange(rows).mul(7).add(steps).remainder(steps + 1).flip(0)
        given["lengths"][0] = 0
    if "resets" in kind:
        given["resets"] = torch.arange(rows * steps).view(rows, steps).mul(5).remainder(7) == 0
    if "initial" in kind:
        given["initial"] = tree.map(torch.randn_like, state)
    return given


def everything(name: str, given: Given, options: dict[str, Any], backend: str, dtype: torch.dtype) -> list[Tensor]:
    """Outputs, final state, and the gradients of drive, state, weights and the state that a reset returns to."""
    given, options = tree.map(lambda t: t.to(dtype) if t.is_floating_point() else t, (given, options))
    inputs = [t for t in tree.leaves((tuple(given), options)) if t.is_floating_point()]
    for leaf in inputs:
        leaf.requires_grad_()
    with kernels.backend(backend):
        out, state = CASES[name].recurrence.scan(given.drive, given.state, *given.weights, **options)
    results = [out, *tree.leaves(state)]
    generator = torch.Generator().manual_seed(1)
    slopes = [torch.randn(t.shape, generator=generator, dtype=DOUBLE).to(dtype) for t in results]
    gradients = torch.autograd.grad(results, inputs, slopes, materialize_grads=True)
    for leaf in inputs:
        leaf.requires_grad_(False)
    return [t.detach() for t in (*results, *gradients)]


@pytest.mark.parametrize(("name", "dtype", "sizes"), COMPILED, ids=lambda part: str(part).replace("torch.", ""))
def test_the_kernel_equals_the_walk(name: str, dtype: torch.dtype, sizes: Sizes) -> None:
    """Oracle: the walk in float64."""
    torch.manual_seed(0)
    for rows, steps, kind in RUNS:
        given = CASES[name].make(rows, steps, sizes, dtype)
        options = marks(kind, rows, steps, given.state)
        got = everything(name, given, options, BACKEND, dtype)
        want = everything(name, given, options, "reference", DOUBLE)
        with torch.no_grad(), kernels.backend(BACKEND):
            bare = CASES[name].recurrence.scan(given.drive, given.state, *given.weights, **options)
        got, want = [*tree.leaves(bare), *got], [*want[: len(tree.leaves(bare))], *want]
        for number, (g, w) in enumerate(zip(got, want, strict=True)):
            assert g.shape == w.shape
            gap = float((g.double() - w).abs().max() / w.abs().max().clamp(min=1e-6))
            assert gap <= TOLERANCE[dtype], f"B = {rows}, T = {steps}, {kind}: result {number} differs by {gap:.1e}"


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_is_chosen_unasked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: `explain`, with the order of backends that users have."""
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", (BACKEND, "aten"))
    recurrence, make = CASES[name]
    drive, state, weights = make(2, 8, Sizes(5, 4, 3), SINGLE)
    assert recurrence.explain(drive, state, *weights).startswith(f"{BACKEND}: chosen")


# Tails of a vector along each axis, axes that fill it, and rows that are several tiles of vectors.
PLAIN = [
    (Sizes(3, 5, 2), 4, "lengths and resets"),
    (Sizes(4, 3, 1), 3, "whole"),
    (Sizes(2, 1, 3), 1, "resets"),
    (Sizes(2, 39, 1), 4, "lengths"),
]


@pytest.mark.parametrize(("sizes", "lanes", "kind"), PLAIN)
@pytest.mark.parametrize("name", CASES)
def test_emitted_source_on_the_plain_machine(name: str, sizes: Sizes, lanes: int, kind: str) -> None:
    """Oracle: the walk and autograd in float64, by `compare`."""
    torch.manual_seed(0)
    recurrence, make = CASES[name]
    drive, state, weights = make(B, T, sizes, DOUBLE)
    compare(step_of(recurrence), drive, state, list(weights), Plain(lanes, block=2, jobs=2), **ragged(kind))


@pytest.mark.parametrize("kind", ["whole", "lengths and resets"])
@pytest.mark.parametrize("name", CASES)
def test_segments_are_computed_again(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward keeps every fourth state alone. Oracle: the walk and autograd in float64, by `compare`."""
    monkeypatch.setattr(plan, "MUCH", 0)
    monkeypatch.setattr(plan, "SEGMENT", 1)
    torch.manual_seed(0)
    recurrence, make = CASES[name]
    assert T > 4
    drive, state, weights = make(B, T, Sizes(3, 5, 2), DOUBLE)
    compare(step_of(recurrence), drive, state, list(weights), Plain(4, block=2, jobs=2), **ragged(kind))
