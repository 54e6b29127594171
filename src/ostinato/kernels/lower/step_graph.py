"""What a trace is read into: rows, and the gradients that leave the time loop."""

from dataclasses import dataclass, field

from torch import Tensor, fx

from ..ir.graph import Graph, Node, Value
from ..trace.tracer import Trace


@dataclass
class Product:
    """The gradient of a matrix, which the trace calls `node`: the sum over batch, steps and `rows` of left^T right."""

    node: fx.Node
    left: Node  # rows times one side's features
    right: Node
    rows: int = 1


@dataclass
class Total:
    """A row summed over batch and steps: the gradient of a vector.

    Args:
        order: the axes of `node` as they lie in the row, those of one place left out.
    """

    node: fx.Node
    value: Value
    order: tuple[int, ...]

    def shaped(self, row: Tensor) -> Tensor:
        """The row, or its sum, as the trace has it."""
        sizes = self.node.meta["val"].shape
        ones = [i for i in range(len(sizes)) if i not in self.order]
        order = [*self.order, *ones]
        return row.reshape([sizes[i] for i in order]).permute([order.index(i) for i in range(len(order))])


@dataclass
class StepGraph:
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
