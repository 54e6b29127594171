"""From ATen to rows: reads the traced graph of a step into a `Graph`.

What has the batch axis becomes a value (nodes side by side). What depends on weights alone stays torch's, and is
computed once for all steps. Gradients of weights are neither: products of two rows, summed over batch and time, which
leave the time loop as one matrix product over all steps.
"""

import math
from typing import Any

import torch
from torch import Tensor, fx

from . import places, rows  # noqa: F401  # fill VOCABULARY, as axes does
from .axes import of_axes, placewise
from .grid import MOST, Grid, of_row, too_many
from .ir import Value, width_of
from .reading import Product, Reading, Total
from .trace import Trace, of_batch
from .vocabulary import VOCABULARY, Outside, axes_of, features, name_of

_FILLED = {
    "zeros": 0.0,
    "zeros_like": 0.0,
    "ones": 1.0,
    "ones_like": 1.0,
    "empty": 0.0,
    "empty_permuted": 0.0,
    "_efficientzerotensor": 0.0,
}


def read(trace: Trace) -> Reading:
    """Reads a trace.

    Raises:
        Outside: an operation on rows has no meaning here.
    """
    with of_batch(trace.rows):
        reader = _Reader(trace)
        for node in trace.graph.nodes:
            if node.op == "call_function":
                _take(reader, node)
        found = reader.reading
        widths = [[features(n) for n in nodes] for nodes in (trace.drive, trace.state)]
        found.out = reader.value(trace.out)
        found.new_state = [reader.value(n) for n in trace.new_state]
        _check_results(found)
        found.ddrive = [reader.gradient(n, w) for n, w in zip(trace.ddrive, widths[0], strict=True)]
        found.dstate = [reader.gradient(n, w) for n, w in zip(trace.dbefore, widths[1], strict=True)]
    return found


def _take(reader: "_Reader", node: fx.Node) -> None:
    line = node.meta.get("line", "")
    try:
        reader.take(node)
    except Outside as error:
        raise Outside("" if line else error.op, str(error) + line) from error
    except Exception as error:  # the step is the user's own, and the reference loop takes it
        name = name_of(node)
        why = f"{name} is used in a way that is not read ({type(error).__name__}: {error})"
        raise Outside("" if line else name, why + line) from error


def _check_results(found: Reading) -> None:
    """A scan lays out memory for results before it knows them."""
    trace = found.trace
    if trace.of_batch:
        raise Outside("", trace.of_batch)
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
        self.parts: dict[fx.Node, list[Grid]] = {}  # of a split
        self.grids: dict[fx.Node, Grid] = {}  # several axes of features, or a batch behind one
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
        if x in self.grids:
            return self.grids[x].flat()
        if (filled := self._filled(x, name)) is not None:
            return (self.graph.const(filled, shape[-1] if len(shape) > 1 else 1),)
        if math.prod(shape[:-1]) != 1:
            raise Outside(name, f"a weight of shape {list(shape)} meets a row; one axis, or a product, was expected")
        return (self.graph.node("vector", (), math.prod(shape), x),)

    def grid(self, x: fx.Node) -> Grid:
        """An operand as rows along one of its axes."""
        if x in self.grids:
            return self.grids[x]
        shape = tuple(x.meta["val"].shape)
        if x in self.values or x in self.summed:
            return of_row(self.graph, self.value(x), (*shape, 1), 0)
        filled = self._filled(x, name_of(x))
        if filled is None:
            value = self.graph.node("vector", (), math.prod(shape), x)
        else:
            value = self.graph.const(filled, math.prod(shape))
        return of_row(self.graph, (value,), (*shape, 1), None)

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
        if not isinstance(val, (Tensor, tuple, list)):
            raise Outside("", "it makes a Python number of what a tensor holds; keep it a tensor")
        shape = val.shape if isinstance(val, Tensor) else val[0].shape
        if (filled := self._filled(x, name)) is not None:
            if len(shape) > 1 and self.rows in shape:
                width = math.prod(shape) // self.rows
                self._keep(
                    x, of_row(self.graph, (self.graph.const(filled, width),), (*shape, 1), shape.index(self.rows))
                )
            return
        if any(n in self.summed for n in x.all_input_nodes):
            self.summed.add(x)
        if not any(n in self.values or n in self.parts or n in self.grids for n in x.all_input_nodes):
            if name == "expand" and self.rows in shape:  # a weight, given to each row
                self._keep(x, of_axes(self, x))
            return
        if name == "sum" and self._over_batch(x):
            return
        if name.startswith("split"):
            self._split(x)
        elif name == "getitem":
            self._keep(x, self.parts[x.args[0]][x.args[1]])  # type: ignore[index]
        elif not isinstance(val, Tensor):
            raise Outside(name)
        elif name == "mm":
            self._product(x, *x.args)  # type: ignore[arg-type]
        else:
            found = NotImplemented
            if name in VOCABULARY and self._plain(x) and self._of_rows(x):
                found = VOCABULARY[name](self, x, *x.args, **x.kwargs)
            if found is NotImplemented:
                self._keep(x, of_axes(self, x))
            else:
                self.values[x] = found

    def _plain(self, x: fx.Node) -> bool:
        """Whether a value has the batch first, and one axis of features beside others of one place."""
        shape = x.meta["val"].shape
        return shape[:1] == (self.rows,) and sum(size != 1 for size in shape[1:]) <= 1

    def _of_rows(self, x: fx.Node) -> bool:
        """Whether its operands are rows, and weights of one axis where it is done place by place."""
        weights = [n for n in x.all_input_nodes if n not in self.values and n not in self.summed]
        if any(n in self.grids for n in weights):
            return False
        return not placewise(name_of(x)) or all(math.prod(n.meta["val"].shape[:-1]) == 1 for n in weights)

    def _keep(self, x: fx.Node, grid: Grid) -> None:
        if self._plain(x):
            self.values[x] = grid.flat()
        else:
            self.grids[x] = grid

    def _split(self, x: fx.Node) -> None:
        whole = self.grid(x.args[0])  # type: ignore[arg-type]
        given: Any = x.args[2] if len(x.args) > 2 else 0
        axis = given % (len(whole.sizes) - 1)
        widths = [part.shape[axis] for part in x.meta["val"]]
        starts = [sum(widths[:i]) for i in range(len(widths))]
        if axis == whole.along and len(widths) * whole.rows.size > MOST:
            raise Outside(name_of(x), too_many(len(widths) * whole.rows.size))
        self.parts[x] = [whole.part(axis, s, s + w) for s, w in zip(starts, widths, strict=True)]

    def _product(self, x: fx.Node, a: fx.Node, b: fx.Node) -> None:
        left, right = (self.rows in n.meta["val"].shape and n not in self.summed for n in (a, b))
        batches = tuple(n.meta["val"].shape.index(self.rows) if has else None for n, has in ((a, left), (b, right)))
        if a in self.summed or b in self.summed or batches == (0, 1):
            raise Outside("mm", "two rows are multiplied as matrices; rows of one batch do not see each other")
        if batches == (1, 0):
            self.summed.add(x)
            self.reading.products.append(Product(x, *(self.graph.cat(self.value(n)) for n in (a, b))))
        elif batches == (0, None):
            self._keep(x, of_row(self.graph, self._times(a, b), (*x.meta["val"].shape, 1), 0))
        else:
            with x.graph.inserting_before(x):
                turned = x.graph.call_function(torch.ops.aten.t.default, (a,))
            turned.meta["val"] = a.meta["val"].t()
            self._keep(x, of_row(self.graph, self._times(b, turned), (*x.meta["val"].shape, 1), 1))

    def _times(self, row: fx.Node, matrix: fx.Node) -> Value:
        if matrix not in self.reading.matrices:
            self.reading.matrices.append(matrix)
        number = self.reading.matrices.index(matrix)
        return (self.graph.node("mm", (self.graph.cat(self.value(row)),), matrix.meta["val"].shape[1], number),)

    def _over_batch(self, x: fx.Node) -> bool:
        """Whether it sums over the batch: the gradient of a vector, say."""
        source = self.grid(x.args[0])  # type: ignore[arg-type]
        axes = axes_of(x)
        if source.batch not in axes:
            return False
        self.summed.add(x)
        left = source.reduced("sum", [axis for axis in axes if axis != source.batch], True)
        self.reading.totals.append(Total(x, left.flat()))
        return True
