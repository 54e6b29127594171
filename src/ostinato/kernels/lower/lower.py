"""From ATen to rows: reads the traced graph of a step into a `Graph`.

What has the batch axis becomes a value (see values.py). What depends on weights alone stays torch's, and is
computed once for all steps. Gradients of weights are neither: products of two rows, summed over batch and time, which
leave the time loop as one matrix product over all steps.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ..ir.graph import Node
from ..table import Unsupported
from ..trace.nodes import axes_of, name_of, permuted
from ..trace.tracer import Trace, of_batch
from . import boolean, elementwise, matmul, movement, reduce  # noqa: F401  # fill VOCABULARY
from .alignment import each
from .matmul import batch_of
from .op_registry import VOCABULARY, Place
from .step_graph import StepGraph
from .values import Value, cut, of_node, order_of, row

_FILLED = {
    "zeros": 0.0,
    "zeros_like": 0.0,
    "ones": 1.0,
    "ones_like": 1.0,
    "empty": 0.0,
    "empty_permuted": 0.0,
    "empty_strided": 0.0,
    "new_empty_strided": 0.0,
    "_efficientzerotensor": 0.0,
}


def lower(trace: Trace) -> StepGraph:
    """Lowers a trace.

    Raises:
        Unsupported: an operation on rows has no meaning here.
    """
    with of_batch(trace.batch_marker):
        reader = _Reader(trace)
        for node in trace.graph.nodes:
            if node.op == "call_function":
                _take(reader, node)
        found = reader.reading
        if trace.of_batch:
            raise Unsupported("", trace.of_batch)
        _check_results(trace)
        found.out = reader.result(trace.out, trace.out)
        found.new_state = [reader.result(n, before) for n, before in zip(trace.new_state, trace.state, strict=True)]
        found.ddrive = [reader.result(n, leaf) for n, leaf in zip(trace.ddrive, trace.drive, strict=True)]
        found.dstate = [reader.result(n, leaf) for n, leaf in zip(trace.dbefore, trace.state, strict=True)]
    return found


def order_of_leaf(node: fx.Node) -> list[int]:
    """How the features of what goes in or out lie in memory: its axes beside the batch, the longest last."""
    return [1 + i for i in order_of(node.meta["val"].shape[1:])]


def _take(reader: "_Reader", node: fx.Node) -> None:
    line = node.meta.get("line", "")
    try:
        reader.take(node)
    except Unsupported as error:
        raise Unsupported("" if line else error.op, str(error) + line) from error
    except Exception as error:  # the step is the user's own, and the reference loop takes it
        name = name_of(node)
        why = f"{name} is used in a way that is not read ({type(error).__name__}: {error})"
        raise Unsupported("" if line else name, why + line) from error


def _check_results(trace: Trace) -> None:
    """A scan lays out memory for results before it knows them."""
    for before, after in zip(trace.state, trace.new_state, strict=True):
        old, new = before.meta["val"], after.meta["val"]
        if old.shape[1:] != new.shape[1:] or old.dtype != new.dtype:
            kinds = (f"{str(v.dtype).removeprefix('torch.')} {list(v.shape[1:])}" for v in (old, new))
            raise Unsupported("", "a tensor of the state is {} before the step and {} after it".format(*kinds))
        if not old.is_floating_point():
            kind = str(old.dtype).removeprefix("torch.")
            raise Unsupported(
                "", f"a tensor of the state holds {kind}; keep it as floating numbers, which hold truths too"
            )
    out = trace.out.meta["val"].dtype
    if not out.is_floating_point:
        raise Unsupported("", "its output holds no floating numbers")
    kinds = {n.meta["val"].dtype for n in (*trace.drive, *trace.state) if n.meta["val"].is_floating_point()}
    if len(kinds) == 1 and out not in kinds:
        names = (str(kind).removeprefix("torch.") for kind in (out, *kinds))
        raise Unsupported(
            "", "its output is {} in a step of {}: a whole number times a Python number is".format(*names)
        )


class _Reader:
    def __init__(self, trace: Trace) -> None:
        self.rows = trace.batch_marker
        self.reading = StepGraph(trace)
        self.graph = self.reading.graph
        self.values: dict[fx.Node, Value] = {}
        self.parts: dict[fx.Node, list[Value]] = {}  # of a split
        self.summed: set[fx.Node] = set()  # over the batch, and what depends on that: gradients of weights
        kinds = {"drive": trace.drive, "state": trace.state, "cot": trace.grad_out, "dstate": trace.dstate}
        for kind, nodes in kinds.items():
            for number, node in enumerate(nodes):
                shape = tuple(node.meta["val"].shape)
                order = order_of_leaf(node)
                leaf = self.graph.node("in", (), tuple(shape[i] for i in order), (kind, number))
                self.values[node] = of_node(leaf, shape, 0, order)

    def result(self, node: Any, like: fx.Node) -> tuple[Node, ...]:
        """What goes out, as nodes side by side; zeros where nothing depends on it."""
        order = order_of_leaf(like)
        if node is None:
            return (self.graph.const(0.0, tuple(like.meta["val"].shape[i] for i in order)),)
        value = self.value(node)
        if value.sizes[:1] != (self.rows,):
            raise Unsupported("", f"a result of shape {list(value.sizes)} has no row for each of the batch")
        return row(self.graph, value, order)

    def value(self, x: Any) -> Value:
        """An operand, whatever it is: of the batch, of weights, a number."""
        if not isinstance(x, fx.Node):
            return of_node(self.graph.const(x), (), None, ())
        if x in self.values:
            return self.values[x]
        name, shape = name_of(x), tuple(x.meta["val"].shape)
        if x in self.summed:
            raise Unsupported(name, "rows of one batch meet in a sum; a step must keep them apart")
        if (filled := self._filled(x, name)) is not None:
            return of_node(self.graph.const(filled), shape, None, ())
        order = order_of(shape)
        if order != sorted(order):
            x = permuted(x, order)
        return of_node(self.graph.node("vector", (), tuple(shape[i] for i in order), x), shape, None, order)

    def each(self, x: fx.Node, meaning: Callable[[Place], Node], operands: Sequence[fx.Node] | None = None) -> Value:
        """Place by place: the meaning of operands' nodes."""
        nodes = x.all_input_nodes if operands is None else operands
        values = [self.value(n) for n in nodes]

        def of_nodes(*mine: Node) -> Node:
            return meaning(Place(self.graph, dict(zip(nodes, mine, strict=True))))

        return each(self.graph, tuple(x.meta["val"].shape), values, of_nodes)

    def _filled(self, x: fx.Node, name: str) -> float | None:
        number = x.args[1] if name in ("full", "full_like") else x.args[0] if name == "scalar_tensor" else None
        if number is None:
            number = _FILLED.get(name)
        return float(number) if isinstance(number, (int, float)) else None

    def take(self, x: fx.Node) -> None:
        """Reads one operation, if it is about rows."""
        name, val = name_of(x), x.meta.get("val")
        if torch.Tag.nondeterministic_seeded in getattr(x.target, "tags", ()):
            raise Unsupported(
                name, f"{name} draws random numbers; draw them before the scan, in the drive or the weights"
            )
        if val is None:
            return  # a check, without a result
        if not isinstance(val, (Tensor, tuple, list)):
            raise Unsupported("", "it makes a Python number of what a tensor holds; keep it a tensor")
        shape = val.shape if isinstance(val, Tensor) else val[0].shape
        if (filled := self._filled(x, name)) is not None:
            if self.rows in shape:
                self.values[x] = of_node(self.graph.const(filled), tuple(shape), shape.index(self.rows), ())
            return
        if any(n in self.summed for n in x.all_input_nodes):
            self.summed.add(x)
        if not any(n in self.values or n in self.parts for n in x.all_input_nodes):
            if name == "expand" and self.rows in shape:  # a weight, given to each row
                self._keep(x, VOCABULARY[name](self, x, *x.args, **x.kwargs))
            return
        if name == "sum" and batch_of(self.value(x.args[0])) in axes_of(x):
            matmul.total(self, x, self.value(x.args[0]), axes_of(x))
        elif name.startswith("split"):
            self._split(x)
        elif name == "getitem":
            self.values[x] = self.parts[x.args[0]][x.args[1]]  # type: ignore[index]
        elif not isinstance(val, Tensor) or name not in VOCABULARY:
            raise Unsupported(name)
        else:
            self._keep(x, VOCABULARY[name](self, x, *x.args, **x.kwargs))

    def _keep(self, x: fx.Node, value: Value | None) -> None:
        if value is not None:
            shape = tuple(x.meta["val"].shape)
            assert value.sizes == shape, f"{name_of(x)} is read as {list(value.sizes)}, and is {list(shape)}"
            self.values[x] = value

    def _split(self, x: fx.Node) -> None:
        whole = self.value(x.args[0])
        given: Any = x.args[2] if len(x.args) > 2 else 0
        axis = given % len(whole.sizes)
        widths = [part.shape[axis] for part in x.meta["val"]]
        starts = [sum(widths[:i]) for i in range(len(widths))]
        self.parts[x] = [cut(self.graph, whole, axis, s, w) for s, w in zip(starts, widths, strict=True)]
