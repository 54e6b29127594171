"""What a step makes of its input alone, cut out of it: a product with weights, which many steps may make at once.

Most models begin with one. A step costs what it takes to read the weights, and the steps of a chunk read them once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from ... import tree
from ..._torch import pytree
from ..lower.weight_graph import WeightValues
from ..table import Unsupported
from ..trace.nodes import features, name_of
from ..trace.tracer import Step, Trace, trace

# What leaves a row as it is, but for axes of size 1.
_VIEWS = frozenset(("view", "reshape", "_unsafe_view", "clone", "alias", "detach", "squeeze", "unsqueeze"))


class HoistedInput(NamedTuple):
    """A step in two parts: the product x @ weight, and the rest."""

    step: Step  # ([product], or [product, x], state, *weights) -> (y, state)
    weight: Tensor  # [D, N]
    x_too: bool  # whether the rest wants x itself

    def drive(self, x: Tensor) -> list[Tensor]:
        """What the rest is driven by, for a row x [D]; the product's values do not matter."""
        return [x.new_empty(self.weight.shape[1]), x][: 1 + self.x_too]


def hoist_input(step: Step, x: Tensor, state: Any, weights: Sequence[Tensor]) -> HoistedInput | None:
    """A step (x, state, *weights) -> (y, state) in two parts; None where no product is of x alone.

    Args:
        x, state: one row: [features], or [] for a token's number; the state is a tree of such.

    Raises:
        Unsupported: the step cannot be traced, or hangs on the number of rows.
    """
    if x.dim() != 1:
        return None
    found = trace(step, x, state, weights, gradients=False)
    if found.of_batch:
        raise Unsupported("", found.of_batch)
    products = _products(found)
    if not products:
        return None
    value = WeightValues(zip(found.weights, weights, strict=True))
    weight = torch.cat([value(node.args[1]) for node in products], dim=1)
    if weight.shape[1] == found.batch_marker:
        return None  # the size that marks the batch must be no feature's, where the rest is traced too
    wanted = _wanted([found.out, *found.new_state], products)
    return HoistedInput(_rest(found, products, wanted), weight, found.drive[0] in wanted)


def _products(found: Trace) -> list[fx.Node]:
    """The products of x with what depends on weights alone."""
    same, products, rows = {*found.drive}, list[fx.Node](), {*found.drive, *found.state}
    for node in found.graph.nodes:
        if rows.isdisjoint(node.all_input_nodes):
            continue
        rows.add(node)
        if not same.isdisjoint(node.args) and name_of(node) in _VIEWS and _alike(node, found.drive[0]):
            same.add(node)
        if name_of(node) == "mm" and node.args[0] in same and node.args[1] not in rows:
            products.append(node)
    return products


def _alike(node: fx.Node, x: fx.Node) -> bool:
    return node.meta["val"].shape[0] == x.meta["val"].shape[0] and features(node) == features(x)


def _wanted(results: Sequence[fx.Node], products: Sequence[fx.Node]) -> set[fx.Node]:
    """What the results are made of, up to the products."""
    wanted, left = set[fx.Node](), list(results)
    while left:
        node = left.pop()
        if node not in wanted:
            wanted.add(node)
            left += [] if node in products else node.all_input_nodes
    return wanted


def _rest(found: Trace, products: Sequence[fx.Node], wanted: set[fx.Node]) -> Step:
    """The step after the products, which lie side by side in the first leaf of its drive."""
    widths = [features(node) for node in products]

    def step(drive: Sequence[Tensor], state: Any, *weights: Tensor) -> tuple[Tensor, Any]:
        value = WeightValues(zip((*found.state, *found.weights), (*pytree.tree_leaves(state), *weights), strict=True))
        value.known |= dict(zip(found.drive, drive[1:], strict=False))
        parts = drive[0].split(widths, dim=1) if len(products) > 1 else drive[:1]
        value.known |= dict(zip(products, parts, strict=True))
        for node in found.graph.nodes:
            # In the order of the trace: an operation may overwrite what another read before.
            if node.op == "call_function" and node in wanted:
                value(node)
        return value(found.out), tree.like(state, [value(node) for node in found.new_state])

    return step
