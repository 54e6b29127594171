"""Emitted source computes the scan and its gradients. Oracle: the reference walk and autograd, in float64.

It runs as plain Python (plain_machine.py), on vectors of one, three and four numbers, so that tails are masked and not.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ostinato import tree
from ostinato.cells import cells
from ostinato.kernels import computed
from ostinato.kernels.build import input_product
from ostinato.kernels.scan.gradients import backward
from ostinato.kernels.scan.leaves import as_rows
from ostinato.kernels.scan.program import Options, together
from ostinato.kernels.scan.scan_kernel import ScanKernel
from ostinato.recurrence import Recurrence
from plain_machine import Plain
from steps import CASES, STEPS, H, attention, step_of

B, T, D = 5, 6, 4
LENGTHS = [6, 4, 4, 1, 0]  # the longest first


def compare(
    step: Callable[..., Any], drive: Any, state: Any, weights: list[Tensor], machine: Plain,
    lengths: Tensor | None = None, resets: Tensor | None = None,
) -> None:  # fmt: skip
    """One scan, forward and backward; what a kernel does not write is full of NaN."""
    recurrence = Recurrence("own", lambda gates, state: gates, lambda d, s, *w: step(d, s, *w))
    derived = ScanKernel(
        recurrence, tree.map(lambda d: d[0, 0], drive), tree.map(lambda s: s[0], state), weights, machine
    )
    initial = [torch.randn_like(s) for s in tree.leaves(state)] if resets is not None else []
    inputs = [*tree.leaves(drive), *tree.leaves(state), *weights, *initial]
    for t in inputs:
        t.requires_grad_()
    fresh = tree.like(state, initial) if initial else None
    given = {"lengths": lengths, "resets": resets, "initial": fresh}
    walked = list(recurrence.walk(drive, state, *weights, **given))
    out, last = torch.stack([w.out for w in walked], dim=1), tree.leaves(walked[-1].state)
    cots = [torch.randn_like(t) for t in (out, *last)]
    learns = [(t, c) for t, c in zip([out, *last], cots, strict=True) if t.requires_grad]
    ends, weighted = zip(*learns, strict=True)
    wanted = torch.autograd.grad(ends, inputs, weighted, materialize_grads=True)
    drives, leads = [as_rows(d.detach(), 2).contiguous() for d in tree.leaves(drive)], [2] * len(tree.leaves(drive))
    starts, fresh_rows = (
        [as_rows(s.detach(), 1).contiguous() for s in tree.leaves(leaves)] for leaves in (state, initial)
    )
    plain, leads = (
        [w.detach() for w in weights],
        [*leads, *[1] * len(starts), *[None] * len(weights), *[1] * len(initial)],
    )
    options = Options(*(None if o is None else o.double() for o in (lengths, resets)), tuple(fresh_rows))
    ends = [as_rows(out, 2), *(as_rows(leaf, 1) for leaf in last)]
    cots = [as_rows(cots[0], 2).contiguous(), *(as_rows(c, 1).contiguous() for c in cots[1:])]
    both = [derived.forward(drives, starts, plain, options, keep) for keep in (False, True)]
    (bare, end, _), (got, after, kept) = together(machine, both)
    for mine, theirs in zip([bare, *end, got, *after], 2 * ends, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-11, atol=1e-11)
    (groups,) = together(machine, [backward(derived, drives, starts, plain, options, kept, cots[0], cots[1:])])
    mine = [g for group in groups for g in group]
    for number, (g, w, lead) in enumerate(zip(mine, wanted, leads, strict=True)):
        w = w if lead is None else as_rows(w, lead)
        g = torch.zeros_like(w) if g is None else g
        torch.testing.assert_close(g, w, rtol=1e-11, atol=1e-11, msg=lambda m, n=number: f"gradient {n}: {m}")


def sequences(cell: Any) -> tuple[Any, Any, list[Tensor]]:
    cell = cell.double()
    drive = tree.detach(computed(cell.drive(torch.randn(B, T, D, dtype=torch.float64))))
    state = tree.map(torch.randn_like, cell.initial_state(B))
    return drive, state, [w.detach() for w in cell.weights()]


def ragged(kind: str) -> dict[str, Tensor | None]:
    resets = torch.zeros(B, T, dtype=torch.bool)
    resets[0, 0] = resets[0, 3] = resets[1, 2] = resets[1, 3] = resets[2, 5] = resets[4, 1] = True
    return {
        "lengths": torch.tensor(LENGTHS) if "lengths" in kind else None,
        "resets": resets if "resets" in kind else None,
    }


@pytest.mark.parametrize("kind", ["whole", "lengths", "resets", "lengths and resets"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_cell(name: str, options: dict[str, str], kind: str) -> None:
    torch.manual_seed(0)
    cell = cells[name](D, 5, **options)
    compare(step_of(cell.recurrence), *sequences(cell), Plain(lanes=4), **ragged(kind))


@pytest.mark.parametrize("hidden", [1, 4, 7])
@pytest.mark.parametrize("lanes", [1, 3, 4])
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_every_width_and_number_of_lanes(name: str, hidden: int, lanes: int) -> None:
    torch.manual_seed(0)
    cell = cells[name](D, hidden)
    compare(step_of(cell.recurrence), *sequences(cell), Plain(lanes, block=2, jobs=1), **ragged("lengths and resets"))


@pytest.mark.parametrize("kind", ["whole", "lengths and resets"])
@pytest.mark.parametrize("step", STEPS, ids=lambda f: f.__name__)
def test_steps_of_ones_own(step: Callable[..., Any], kind: str) -> None:
    torch.manual_seed(0)
    weights = [torch.randn(shape, dtype=torch.float64) for shape in STEPS[step]]
    state = tuple(torch.randn(B, H, dtype=torch.float64) for _ in range(2 if step is attention else 1))
    compare(step, torch.randn(B, T, H, dtype=torch.float64), state, weights, Plain(lanes=4), **ragged(kind))


def test_one_step_of_one_row() -> None:
    torch.manual_seed(0)
    cell = cells["gru"](D, 3).double()
    drive = tree.detach(computed(cell.drive(torch.randn(1, 1, D, dtype=torch.float64))))
    weights = [w.detach() for w in cell.weights()]
    compare(step_of(cell.recurrence), drive, cell.initial_state(1), weights, Plain(lanes=4, jobs=1))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("most", [1, 4, 7, 96])
@pytest.mark.parametrize("kind", ["whole", "lengths and resets"])
@pytest.mark.parametrize("name", ["lstm", "gru", "peephole_lstm"])
def test_a_drive_made_in_parts(name: str, kind: str, most: int, biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the same kernel with the whole drive given."""
    torch.manual_seed(0)
    monkeypatch.setattr(input_product, "TOGETHER", most)
    cell = cells[name](D, 5).double()
    x = torch.randn(B, T, D, dtype=torch.float64)
    w, b = torch.randn(20 if "lstm" in name else 15, D, dtype=torch.float64), None
    b = torch.randn(len(w), dtype=torch.float64) if biased else None
    state, weights = tree.map(torch.randn_like, cell.initial_state(B)), [w.detach() for w in cell.weights()]
    row = (cell.recurrence, w[:, 0], tree.map(lambda s: s[0], state), weights)
    given = ragged(kind)
    initial = tuple(torch.randn_like(s) for s in tree.leaves(state))
    options = Options(*(None if o is None else o.double() for o in given.values()), initial)
    for machine in (Plain(lanes=4), Plain(lanes=3, block=2, jobs=1)):
        inside, outside = ScanKernel(*row, machine, features={0: D}), ScanKernel(*row, machine)
        assert inside.inside == {0: D}
        starts = tree.leaves(state)
        works = [
            outside.forward([torch.nn.functional.linear(x, w, b)], starts, weights, options),
            inside.forward([x, w, b], starts, weights, options),
        ]
        want, got = together(machine, works)
        for mine, theirs in zip([got[0], *got[1], *got[2]], [want[0], *want[1], *want[2]], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


def test_a_drive_that_backward_wants_is_given_whole() -> None:
    squared = Recurrence("squared", lambda h, _: (h, h), lambda d, h: d * d + h)
    row = torch.zeros(5, dtype=torch.float64)
    assert ScanKernel(squared, row, row, [], Plain(lanes=4), features={0: D}).inside == {}


def test_of_two_leaves_the_one_that_backward_does_not_want_is_made_inside() -> None:
    """RAN's backward multiplies with the content, and not with what its gates are made of."""
    torch.manual_seed(0)
    cell = cells["ran"](D, 5).double().requires_grad_(False)
    x, state = torch.randn(B, T, D, dtype=torch.float64), cell.initial_state(B)
    drive, weights = cell.drive(x), [*cell.weights()]
    row = (cell.recurrence, tree.map(lambda d: d[0, 0], computed(drive)), tree.map(lambda s: s[0], state), weights)
    machine, start = Plain(lanes=4), tree.leaves(state)
    inside, outside = ScanKernel(*row, machine, features={0: D, 1: D}), ScanKernel(*row, machine)
    assert inside.inside == {0: D}
    given = [*drive.gates, computed(drive.content)]
    works = [outside.forward(tree.leaves(computed(drive)), start, weights, Options())]
    want, got = together(machine, [*works, inside.forward(given, start, weights, Options())])
    kept, cot = want[2], torch.randn_like(want[0])
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    works = [
        backward(outside, tree.leaves(computed(drive)), start, weights, Options(), kept, cot, want[1]),
        backward(inside, given, start, weights, Options(), kept, cot, want[1]),
    ]
    (whole, *others), (parts, *mine) = together(machine, works)
    torch.testing.assert_close(mine, others, rtol=1e-11, atol=1e-11)
    dx, dw, db, content = parts
    torch.testing.assert_close(content, whole[1], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(dx, whole[0] @ drive.gates.weight, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(dw, whole[0].flatten(0, 1).T @ x.flatten(0, 1), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(db, whole[0].sum((0, 1)), rtol=1e-11, atol=1e-11)
