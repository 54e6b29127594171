"""What a traced node says of itself: its operation, the width of its rows, the axes that it takes away."""

import math
from collections.abc import Sequence

import torch
from torch import fx


def name_of(node: fx.Node) -> str:
    """The operation's name in ATen, without namespace, overload and the mark of what is done in place."""
    if node.op != "call_function":
        return node.op
    packet = getattr(node.target, "overloadpacket", None)
    name = packet.__name__ if packet is not None else getattr(node.target, "__name__", str(node.target))
    return name if name.startswith("_") else name.rstrip("_")


def features(node: fx.Node) -> int:
    """How many numbers a row of a traced value has."""
    return math.prod(node.meta["val"].shape[1:])


def permuted(x: fx.Node, order: Sequence[int]) -> fx.Node:
    """The node with its axes in an order; those of one place that it leaves out come last."""
    permute, size = torch.ops.aten.permute.default, x.meta["val"].shape
    whole = [*order, *(i for i, places in enumerate(size) if places == 1 and i not in order)]
    for user in x.users:
        if user.target is permute and list(user.args[1]) == whole:  # type: ignore[arg-type]
            return user
    with x.graph.inserting_after(x):
        turned = x.graph.call_function(permute, (x, whole))
    turned.meta["val"] = x.meta["val"].permute(whole)
    return turned


def axes_of(node: fx.Node) -> list[int]:
    """The axes that a reduction takes away; all where it names none."""
    dims = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if isinstance(axes, int):
        axes = [axes]
    return [axis % dims for axis in axes] if axes else list(range(dims))  # type: ignore[union-attr]
