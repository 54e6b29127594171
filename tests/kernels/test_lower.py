"""What a step is lowered to computes the step and its gradients. Oracle: autograd on the step itself, in float64."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from graph_machine import GraphMachine
from ostinato import tree
from ostinato.cells import cells
from ostinato.kernels import computed
from ostinato.kernels.lower import Outside, read, trace, written_at
from ostinato.kernels.lower.evaluate import Evaluated
from steps import CASES, STEPS, H, attention, step_of

B = 6


def lowered(step: Callable[..., Any], drive: Any, state: Any, weights: list[Tensor]) -> None:
    """Lowers a step and compares everything that it computes."""

    def row(t: Tensor) -> Tensor:
        return t[0]

    reading = read(trace(step, tree.map(row, drive), tree.map(row, state), weights))
    value, vjp, *_ = torch.func.vjp(step, drive, state, *weights)
    cot = pytree.tree_map(lambda t: torch.randn_like(t), value)
    kinds = {"drive": drive, "state": state, "cot": cot[0], "dstate": cot[1]}
    given = {(kind, i): t.numpy() for kind, leaves in kinds.items() for i, t in enumerate(tree.leaves(leaves))}
    machine = GraphMachine(reading, given, Evaluated(zip(reading.trace.weights, weights, strict=True)))
    rows = [machine.row(v) for v in (reading.out, *reading.new_state, *reading.ddrive, *reading.dstate)]
    slopes = [machine.gradient(x, w) for x, w in zip(reading.trace.dweights, weights, strict=True)]
    wanted = tree.leaves((value, vjp(cot)))
    for g, w in zip([*map(torch.from_numpy, rows), *slopes], wanted, strict=True):
        torch.testing.assert_close(g, w.reshape(g.shape), rtol=1e-12, atol=1e-12, equal_nan=True)


def example(cell: Any) -> tuple[Any, Any, list[Tensor]]:
    cell = cell.double()
    drive = tree.at(computed(cell.drive(torch.randn(B, 1, 4, dtype=torch.float64))), 0)
    state = tree.map(lambda leaf: torch.randn_like(leaf), cell.initial_state(B))
    return tree.detach(drive), state, [w.detach() for w in cell.weights()]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_cell_is_lowered(name: str, options: dict[str, str]) -> None:
    torch.manual_seed(0)
    cell = cells[name](4, H, **options)
    lowered(step_of(cell.recurrence), *example(cell))


@pytest.mark.parametrize("step", STEPS, ids=lambda f: f.__name__)
def test_steps_of_ones_own_are_lowered(step: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    weights = [torch.randn(shape, dtype=torch.float64) for shape in STEPS[step]]
    state = tuple(torch.randn(B, H, dtype=torch.float64) for _ in range(2 if step is attention else 1))
    lowered(step, torch.randn(B, H, dtype=torch.float64), state, weights)


def sorted_step(d: Tensor, s: tuple[Tensor, ...]) -> Any:
    h = d.sort(dim=-1).values + s[0]
    return h, (h,)


def test_an_operation_outside_is_told_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    row, line = torch.zeros(H), "h = d.sort(dim=-1).values + s[0]"
    with pytest.raises(Outside, match="the operation sort is outside the vocabulary") as error:
        read(trace(sorted_step, row, (row,), []))
    assert f"({__file__}, line " in str(error.value) and str(error.value).endswith(f": {line})")
    # Torch's tracer knows no lines: they are looked for in a call.
    monkeypatch.setattr(importlib.import_module(trace.__module__), "record", None)
    with pytest.raises(Outside, match=r"the operation sort is outside the vocabulary$") as error:
        read(trace(sorted_step, row, (row,), []))
    where = written_at(error.value.op, sorted_step, [sorted_step], (row[None], (row[None],)))
    assert where.startswith(__file__)
    assert where.endswith(line)


def test_rows_that_see_each_other_are_refused() -> None:
    def mixed(d: Tensor, s: tuple[Tensor, ...]) -> Any:
        h = torch.softmax(d @ s[0].T, -1) @ s[0]
        return h, (h,)

    row = torch.zeros(H)
    with pytest.raises(Outside):
        read(trace(mixed, row, (row,), []))


def test_nothing_is_computed_twice() -> None:
    """The LSTM of architecture.md: four gates, two tanh, and their gradients from what is there already."""
    from ostinato.kernels.ir.graph import count

    cell = cells["lstm"](4, H)
    drive, state, weights = example(cell)
    reading = read(trace(step_of(cell.recurrence), drive[0], tree.map(lambda t: t[0], state), weights))
    roots = [n for v in (reading.out, *reading.new_state, *reading.ddrive, *reading.dstate) for n in v]
    found = count(roots)
    assert (found["sigmoid"], found["tanh"], found["mm"]) == (3, 2, 2)
    assert "spread" not in found
