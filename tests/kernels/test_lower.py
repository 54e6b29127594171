"""What a step is lowered to computes the step and its gradients. Oracle: autograd on the step itself, in float64."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ostinato import tree
from ostinato.cells import cells
from ostinato.kernels import computed
from ostinato.kernels.ir.graph import Node, Value
from ostinato.kernels.lower.lower import lower
from ostinato.kernels.lower.step_graph import StepGraph
from ostinato.kernels.table import Unsupported
from ostinato.kernels.trace.tracer import trace, written_at
from steps import CASES, STEPS, H, attention, step_of

B = 6
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "neg": torch.neg, "exp": torch.exp, "log": torch.log, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "relu": torch.relu, "abs": torch.abs, "sqrt": torch.sqrt, "erf": torch.erf, "sign": torch.sign, "add": torch.add,
    "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum, "minimum": torch.minimum,
    "expm1": torch.expm1, "sin": torch.sin, "cos": torch.cos, "atan": torch.atan, "floor": torch.floor,
    "round": torch.round, "pow": torch.pow,
    "gt": torch.gt, "ge": torch.ge, "lt": torch.lt, "le": torch.le, "eq": torch.eq, "ne": torch.ne,
}  # fmt: skip


class Interpreter:
    """Computes nodes by torch, one by one: slow, and plain enough to be believed."""

    def __init__(self, reading: StepGraph, given: dict[tuple[str, int], Tensor], weights: list[Tensor]) -> None:
        self.reading, self.given = reading, given
        self.known: dict[Any, Any] = dict(zip(reading.trace.weights, weights, strict=True))
        self.rows: dict[Node, Tensor] = {}

    def outer(self, x: Any) -> Any:
        """A value of the trace that has no batch axis."""
        if not isinstance(x, torch.fx.Node):
            return x
        if x not in self.known:
            args, kwargs = torch.fx.node.map_arg((x.args, x.kwargs), self.outer)
            self.known[x] = x.target(*args, **kwargs)  # type: ignore[operator]
        return self.known[x]

    def value(self, value: Value) -> Tensor:
        return torch.cat([self.row(n).expand(B, n.width) for n in value], dim=1)

    def row(self, n: Node) -> Tensor:
        if n not in self.rows:
            a = [self.row(x) for x in n.args]
            match n.op:
                case "in":
                    out = self.given[n.attr]
                case "const":
                    out = torch.full((B, n.width), n.attr, dtype=torch.float64)
                case "vector":
                    out = self.outer(n.attr).reshape(1, -1)
                case "slice":
                    out = a[0][:, n.attr : n.attr + n.width]
                case "cat":
                    out = self.value(n.args)
                case "spread":
                    out = a[0].expand(B, n.width)
                case "mm":
                    out = a[0] @ self.outer(self.reading.matrices[n.attr])
                case "sum" | "amax":
                    wide = a[0].expand(B, n.args[0].width)
                    out = wide.sum(1, keepdim=True) if n.op == "sum" else wide.amax(1, keepdim=True)
                case "where":
                    out = torch.where(a[0] != 0, a[1], a[2])
                case _:
                    out = FUNCTIONS[n.op](*a).to(torch.float64)
            self.rows[n] = out
            assert out.shape[-1] in (n.width, 1), (n, out.shape)
        return self.rows[n]

    def gradients(self) -> list[Tensor]:
        """Those of the weights."""
        for product in self.reading.products:
            self.known[product.node] = self.row(product.left).expand(B, -1).T @ self.row(product.right).expand(B, -1)
        for total in self.reading.totals:
            self.known[total.node] = self.value(total.value).sum(0).reshape(total.node.meta["val"].shape)
        return [self.outer(x) for x in self.reading.trace.dweights]


def lowered(step: Callable[..., Any], drive: Any, state: Any, weights: list[Tensor]) -> None:
    """Lowers a step and compares everything that it computes."""

    def row(t: Tensor) -> Tensor:
        return t[0]

    reading = lower(trace(step, tree.map(row, drive), tree.map(row, state), weights))
    given = {("drive", i): t for i, t in enumerate(tree.leaves(drive))}
    given |= {("state", i): t for i, t in enumerate(tree.leaves(state))}
    value, vjp, *_ = torch.func.vjp(step, drive, state, *weights)
    cot = pytree.tree_map(lambda t: torch.randn_like(t), value)
    given |= {("cot", 0): cot[0], **{("dstate", i): t for i, t in enumerate(tree.leaves(cot[1]))}}
    run = Interpreter(reading, given, weights)
    got = [run.value(v) for v in (reading.out, *reading.new_state, *reading.ddrive, *reading.dstate)]
    wanted = tree.leaves((value, vjp(cot)))
    for g, w in zip([*got, *run.gradients()], wanted, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12, equal_nan=True)


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
    with pytest.raises(Unsupported, match="the operation sort is outside the vocabulary") as error:
        lower(trace(sorted_step, row, (row,), []))
    assert f"({__file__}, line " in str(error.value) and str(error.value).endswith(f": {line})")
    # Torch's tracer knows no lines: they are looked for in a call.
    monkeypatch.setattr(importlib.import_module(trace.__module__), "record", None)
    with pytest.raises(Unsupported, match=r"the operation sort is outside the vocabulary$") as error:
        lower(trace(sorted_step, row, (row,), []))
    where = written_at(error.value.op, sorted_step, [sorted_step], (row[None], (row[None],)))
    assert where.startswith(__file__)
    assert where.endswith(line)


def test_rows_that_see_each_other_are_refused() -> None:
    def mixed(d: Tensor, s: tuple[Tensor, ...]) -> Any:
        h = torch.softmax(d @ s[0].T, -1) @ s[0]
        return h, (h,)

    row = torch.zeros(H)
    with pytest.raises(Unsupported):
        lower(trace(mixed, row, (row,), []))


def test_nothing_is_computed_twice() -> None:
    """The LSTM of architecture.md: four gates, two tanh, and their gradients from what is there already."""
    from ostinato.kernels.ir.graph import count

    cell = cells["lstm"](4, H)
    drive, state, weights = example(cell)
    reading = lower(trace(step_of(cell.recurrence), drive[0], tree.map(lambda t: t[0], state), weights))
    roots = [n for v in (reading.out, *reading.new_state, *reading.ddrive, *reading.dstate) for n in v]
    found = count(roots)
    assert (found["sigmoid"], found["tanh"], found["mm"]) == (3, 2, 2)
    assert "spread" not in found
