"""From ATen to rows: reads the traced graph of a step into a `Graph`.

What has the batch axis becomes a value (nodes side by side). What depends on weights alone stays torch's, and is
computed once for all steps. Gradients of weights are neither: products of two rows, summed over batch and time, which
leave the time loop as one matrix product over all steps.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from . import truths as truths  # fills VOCABULARY
from .ir import Graph, Node, Value, width_of
from .trace import Trace
from .vocabulary import VOCABULARY, Outside, axes_of, features, name_of

_FILLED = {"zeros": 0.0, "zeros_like": 0.0, "ones": 1.0, "ones_like": 1.0, "empty": 0.0, "empty_permuted": 0.0}


@dataclass
class Product:
    """The gradient of a matrix: the sum over batch and steps of left^T right. `node` is what the trace calls it."""

    node: fx.Node
    left: Node
    right: Node


@dataclass
class Total:
    """A row summed over batch and steps: the gradient of a vector."""

    node: fx.Node
    value: Value


@dataclass
class Reading:
    """A step and its gradients as rows. The lists are in the order of the leaves."""

    trace: Trace
    graph: Graph = field(default_factory=Graph)
    out: Value = ()
    new_state: list[Value] = field(default_factory=list)
    ddrive: list[Value] = field(default_factory=list)
    dstate: list[Value] = field(default_factory=list)
    matrices: list[fx.Node] = field(default_factory=list)  # what `mm` multiplies with
    products: list[Product] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)


def read(trace: Trace) -> Reading:
    """Reads a trace.

    Raises:
        Outside: an operation on rows has no meaning here.
    """
    reader = _Reader(trace)
    for node in trace.graph.nodes:
        if node.op == "call_function":
            reader.take(node)
    found = reader.reading
    widths = [[features(n) for n in nodes] for nodes in (trace.drive, trace.state)]
    found.out = reader.value(trace.out)
    found.new_state = [reader.value(n) for n in trace.new_state]
    _check_results(found)
    found.ddrive = [reader.gradient(n, w) for n, w in zip(trace.ddrive, widths[0], strict=True)]
    found.dstate = [reader.gradient(n, w) for n, w in zip(trace.dbefore, widths[1], strict=True)]
    return found


def _check_results(found: Reading) -> None:
    """A scan lays out memory for results before it knows them."""
    trace = found.trace
    for before, after, value in zip(trace.state, trace.new_state, found.new_state, strict=True):
        old, new = before.meta["val"], after.meta["val"]
        if features(before) != width_of(value) or old.dtype != new.dtype:
            kinds = (f"{str(v.dtype).removeprefix('torch.')} {list(v.shape[1:])}" for v in (old, new))
            raise Outside("", "a leaf of the state is {} before the step and {} after it".format(*kinds))
    if not trace.out.meta["val"].is_floating_point():
        raise Outside("", "its output holds no floating numbers")


class _Reader:
    def __init__(self, trace: Trace) -> None:
        self.rows = trace.rows
        self.reading = Reading(trace)
        self.graph = self.reading.graph
        self.values: dict[fx.Node, Value] = {}
        self.parts: dict[fx.Node, list[Value]] = {}  # of a split
        self.turned: dict[fx.Node, fx.Node] = {}  # [features, batch]: rows, transposed
        self.summed: set[fx.Node] = set()  # over the batch, and what depends on that: gradients of weights
        kinds = {"drive": trace.drive, "state": trace.state, "cot": trace.cot, "dstate": trace.dstate}
        for kind, nodes in kinds.items():
            for number, node in enumerate(nodes):
                shape = node.meta["val"].shape
                # One number a row is read where nothing is differentiated: a token's number.
                if len(shape) != 2 and (trace.cot or len(shape) > 2):
                    raise Outside("", f"a leaf of the {kind} has {len(shape) - 1} axes of features; one is read")
                self.values[node] = (self.graph.node("in", (), features(node), (kind, number)),)

    def gradient(self, node: Any, width: int) -> Value:
        """A gradient; zeros where nothing depends on it."""
        return (self.graph.const(0.0, width),) if node is None else self.value(node)

    def value(self, x: Any) -> Value:
        """An operand as a row, whatever it is: a row, a weight, a number."""
        if not isinstance(x, fx.Node):
            return (self.graph.const(x),)
        if x in self.values:
            return self.values[x]
        name, shape = name_of(x), x.meta["val"].shape
        if x in self.summed:
            raise Outside(name, "rows of one batch meet in a sum; a step must keep them apart")
        if (filled := self._filled(x, name)) is not None:
            return (self.graph.const(filled, shape[-1] if len(shape) > 1 else 1),)
        if math.prod(shape[:-1]) != 1:
            raise Outside(name, f"a weight of shape {list(shape)} meets a row; one axis, or a product, was expected")
        return (self.graph.node("vector", (), math.prod(shape), x),)

    def _filled(self, x: fx.Node, name: str) -> float | None:
        number = x.args[1] if name in ("full", "full_like") else x.args[0] if name == "scalar_tensor" else None
        if number is None:
            number = _FILLED.get(name)
        return float(number) if isinstance(number, (int, float)) else None

    def take(self, x: fx.Node) -> None:
        """Reads one operation, if it is about rows."""
        name, val = name_of(x), x.meta.get("val")
        if torch.Tag.nondeterministic_seeded in getattr(x.target, "tags", ()):
            raise Outside(name, f"{name} draws random numbers; draw them before the scan, in the drive or the weights")
        if val is None:
            return  # a check, without a result
        shape = val.shape if isinstance(val, Tensor) else val[0].shape
        if (filled := self._filled(x, name)) is not None:
            if len(shape) > 1 and shape[0] == self.rows:
                self.values[x] = (self.graph.const(filled, features(x)),)
            return
        if any(n in self.summed for n in x.all_input_nodes):
            self.summed.add(x)
        if not any(n in self.values or n in self.parts or n in self.turned for n in x.all_input_nodes):
            if name == "expand" and shape[:1] == (self.rows,):  # a weight, given to each row
                self.values[x] = VOCABULARY[name](self, x, *x.args)
            return
        if self._leaves_the_loop(x, name, shape):
            return
        if shape[:1] != (self.rows,) or sum(size != 1 for size in shape[1:]) > 1:
            raise Outside(name, f"{name} gives the shape {list(shape)}, which is no batch of rows")
        if name.startswith("split"):
            widths = [math.prod(part.shape[1:]) for part in val]
            starts = [sum(widths[:i]) for i in range(len(widths))]
            self.parts[x] = [self.graph.cut(self.value(x.args[0]), s, w) for s, w in zip(starts, widths, strict=True)]
            return
        if name == "getitem":
            found = self.parts[x.args[0]][x.args[1]]  # type: ignore[index]
        elif name == "mm":
            found = self._product(x, *x.args)  # type: ignore[arg-type]
        elif name in VOCABULARY:
            found = VOCABULARY[name](self, x, *x.args, **x.kwargs)
        else:
            raise Outside(name)
        self.values[x] = found

    def _product(self, x: fx.Node, row: Any, matrix: fx.Node) -> Value:
        if matrix in self.values or matrix in self.turned or matrix in self.summed:
            raise Outside("mm", "two rows are multiplied as matrices; rows of one batch do not see each other")
        if matrix not in self.reading.matrices:
            self.reading.matrices.append(matrix)
        number = self.reading.matrices.index(matrix)
        return (self.graph.node("mm", (self.graph.cat(self.value(row)),), x.meta["val"].shape[1], number),)

    def _leaves_the_loop(self, x: fx.Node, name: str, shape: Any) -> bool:
        """Whether it sums over the batch, or is on the way there."""
        args, reading = x.args, self.reading
        if name in ("permute", "t", "transpose") and shape[-1] == self.rows:
            self.turned[x] = args[0]  # type: ignore[assignment]
            return True
        if name == "mm" and shape[0] != self.rows:
            left, right = self.graph.cat(self.value(self.turned[args[0]])), self.graph.cat(self.value(args[1]))  # type: ignore[index]
            reading.products.append(Product(x, left, right))
            self.summed.add(x)
            return True
        if name == "sum" and 0 in axes_of(x):
            value = self.value(args[0])
            whole = len(axes_of(x)) > 1
            self.summed.add(x)
            reading.totals.append(Total(x, self.graph.reduce("sum", value) if whole else value))
            return True
        return False
