"""The compiler's parts by themselves: the table of operations, the checks between passes, and that passes are pure."""

import math

import pytest
import torch

from ostinato.cells import cells
from ostinato.kernels import computed
from ostinato.kernels.compiler import compile_direction, compile_step
from ostinato.kernels.ir import verify
from ostinato.kernels.ir.buffers import OUT, Kind
from ostinato.kernels.ir.expressions import Base, Int, Var
from ostinato.kernels.ir.graph import Graph, Node
from ostinato.kernels.ir.loops import Assign, Function
from ostinato.kernels.ir.ops import OPS, POINTWISE, missing
from ostinato.kernels.render.numba import SCALAR
from steps import step_of

PLACES = (-1.75, -0.5, 0.25, 0.5, 2.5)


@pytest.mark.parametrize("name", POINTWISE)
def test_single_numbers_mean_what_the_table_says(name: str) -> None:
    """Oracle: the table's own meaning of each operation, on Python's floats."""
    op = OPS[name]
    assert op.arity is not None
    assert op.meaning is not None
    for number, x in enumerate(PLACES):
        domain = abs(x) if name in ("log", "log2", "log10", "sqrt", "pow") else x
        args = [domain, *PLACES[number - 1 :: -1], *PLACES][: op.arity]
        source = SCALAR[name].format(*(f"({a!r})" for a in args))
        assert math.isclose(eval(source, {"math": math}), op.meaning(*args), rel_tol=1e-12), (name, args)


def test_a_renderer_that_lacks_an_operation_is_told_so() -> None:
    with pytest.raises(NotImplementedError, match=r"must spell every operation of ir/ops.py; it lacks tanh$"):
        missing(set(POINTWISE) - {"tanh"}, POINTWISE, "a renderer")
    with pytest.raises(NotImplementedError, match=r"spells swish, which ir/ops.py does not have"):
        missing({*POINTWISE, "swish"}, POINTWISE, "a renderer")


def row(graph: Graph, width: int, number: int = 0) -> Node:
    return graph.node("in", (), width, ("drive", number))


def test_nobody_edits_a_node() -> None:
    node = row(Graph(), 3)
    with pytest.raises(AttributeError):
        node.args = (node,)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda g: g.node("add", (row(g, 4),), 4), "it takes 2 arguments"),
        (lambda g: g.node("add", (row(g, 4), row(g, 3, 1)), 4), "its arguments have its shape"),
        (lambda g: g.node("slice", (row(g, 4),), 3, 2), "it lies inside its argument"),
        (lambda g: g.node("cat", (row(g, 4), row(g, 3)), 6), "it is as wide as its arguments together"),
        (lambda g: g.node("saved", (), 4, 7), "it is one of 10 numbers that are kept"),
        (lambda g: row(g, 4, 2), "it comes from outside"),
        (lambda g: g.node("vector", (), 4, "w"), "it is a weight of the trace"),
        (lambda g: g.node("swish", (row(g, 4),), 4), "its operation stands in ir/ops.py"),
    ],
)
def test_a_malformed_graph_is_told(wrong, why) -> None:
    graph = Graph()
    leaves = {("drive", 0), ("drive", 1)}
    verify.graph([graph.pointwise("add", row(graph, 4), row(graph, 1, 1))], leaves, 10)
    with pytest.raises(verify.MalformedError, match=why):
        verify.graph([wrong(graph)], leaves, 10)


def test_a_value_of_another_width_than_it_was_traced_is_told() -> None:
    traced = torch.fx.Graph().placeholder("x")
    traced.meta["val"] = torch.empty(7919, 2, 3)
    verify.traced_widths([((row(Graph(), 6),), traced)])
    with pytest.raises(verify.MalformedError, match="x has 6 features a row, and was read as 5"):
        verify.traced_widths([((row(Graph(), 5),), traced)])


def test_a_variable_without_a_value_is_told() -> None:
    head = (Var("T"),)
    verify.function(Function("f", head, (OUT,), (Assign(Var("t"), Var("T") + 1),)))
    for value in (Var("R") + Int(1), Base(OUT)):
        with pytest.raises(verify.MalformedError, match="is read before it has a value"):
            verify.function(Function("f", head, (OUT,), (Assign(Var("t"), value),)))


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_a_direction_does_not_depend_on_what_was_compiled_before(name: str) -> None:
    cell = cells[name](4, 5)
    drive = computed(cell.drive(torch.randn(1, 1, 4)))
    state = cell.initial_state(1)
    first = torch.utils._pytree.tree_map(lambda t: t[0], state)
    call = (step_of(cell.recurrence), drive[0, 0].detach(), first, [w.detach() for w in cell.weights()], 4)
    alone, all_ = (compile_step(*call) for _ in range(2))
    sources = {direction: one.source for direction, one in all_.directions.items()}
    for direction in ("inference", "backward", "forward"):
        assert compile_direction(alone.plan, direction, 4, {}).source == sources[direction]


def test_what_threads_add_to_is_not_shared() -> None:
    assert {kind for kind in Kind if not kind.shared} == {Kind.INITIAL_GRADIENT, Kind.SUMS}
