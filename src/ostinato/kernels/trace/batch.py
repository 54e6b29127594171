"""Whether a step is the same for any number of rows in the batch: a kernel is derived once for all of them."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ..._torch import pytree
from ..table import Unsupported

Graphs = Callable[[int, bool], fx.Graph]  # (rows, with gradients) -> what a step does with a batch of so many
_NO_SIZES = frozenset(("shifts", "steps", "start", "step", "index", "length"))  # whole numbers, but none of rows


def without_batch(graph: fx.Graph, rows: int, kept: int) -> str:
    """Which of the first `kept` results has no row for each of the batch, in words; the first is the output."""
    for i, shape in enumerate(_results(graph)[:kept]):
        if shape[:1] != (rows,):
            what = "a leaf of the state after it" if i else "its output"
            advice = "to give the same to each row, write .expand(x.shape[0], -1)"
            return f"{what} has the shape {_shape(shape, rows)}, without the batch, B, in front; {advice}"
    return ""


def batch_as_number(graphs: Graphs, graph: fx.Graph, rows: int, other: int, gradients: bool) -> str:
    """Why a step is not the same for any number of rows, in words; "" where it is.

    Args:
        graph: what it does with `rows`.
        other: another number of rows.
    """
    for node in graph.nodes:
        if node.op == "call_function" and any(w in str(node.target) for w in ("arange", "iota")) and rows in node.args:
            raise Unsupported("", f"its step numbers the rows of the batch{_GIVE}{node.meta.get('line', '')}")
    try:
        one = graphs(1, False)
    except Exception as error:  # whatever the user's step says to one row
        first = (str(error).strip() or "no message").splitlines()[0]
        return f"its step takes no batch of one row ({first})"
    shapes = zip(_results(graph), _results(one), strict=False)
    for many, single in shapes:
        if _scaled(many, rows) != tuple(single):
            return (
                f"a result has the shape {_shape(many, rows)}, but {list(single)} where the batch has one row: "
                "squeeze() drops the batch too then; name the axis, as in squeeze(1)"
            )
    if _differs(graph, rows, one, 1) is None:
        return ""
    # Torch, too, takes other ways for one row; so a number that was frozen shows in a batch of another size.
    node = _differs(graph, rows, graphs(other, gradients), other)
    if node is None:
        return ""
    return f"its step computes with the number of rows of the batch{_GIVE}{node.meta.get('line', '')}"


_GIVE = ", and a row does not see the others: give that number as a weight"


def _results(graph: fx.Graph) -> list[torch.Size]:
    output = next(node for node in graph.nodes if node.op == "output").args[0]
    return [node.meta["val"].shape for node in pytree.tree_leaves(output) if isinstance(node, fx.Node)]


def _scaled(shape: torch.Size, rows: int) -> tuple[int, ...]:
    """A shape as it is for one row."""
    return tuple(size if size % rows else size // rows for size in shape) if 0 not in shape else tuple(shape)


def _shape(shape: torch.Size, rows: int) -> str:
    return "[" + ", ".join("B" if size == rows else str(size) for size in shape) + "]"


def _differs(first: fx.Graph, rows: int, second: fx.Graph, others: int) -> fx.Node | None:
    """The first operation of `first` that `second` has otherwise, sizes of the batch aside."""

    def same(x: Any, y: Any, size: bool) -> bool:
        if isinstance(x, fx.Node):
            return isinstance(y, fx.Node)
        if isinstance(x, (list, tuple)):
            return isinstance(y, (list, tuple)) and len(x) == len(y) and all(map(same, x, y, itertools.repeat(size)))
        if size and type(x) is int and type(y) is int and x * others == y * rows:
            return True
        return type(x) is type(y) and (x == y or repr(x) == repr(y))

    calls = [[node for node in graph.nodes if node.op == "call_function"] for graph in (first, second)]
    if len(calls[0]) < len(calls[1]):
        return calls[0][-1] if calls[0] else calls[1][0]
    for a, b in zip(*calls, strict=False):
        if a.target is not b.target or a.kwargs.keys() != b.kwargs.keys():
            return a
        named = {argument.name: argument for argument in getattr(a.target, "_schema", _Empty).arguments}
        sizes = {n for n, argument in named.items() if "int" in str(argument.real_type) and n not in _NO_SIZES}
        pairs = [*zip(named or itertools.repeat(""), a.args, b.args, strict=False)]
        pairs += [(name, x, b.kwargs[name]) for name, x in a.kwargs.items()]
        if len(a.args) != len(b.args) or not all(same(x, y, name in sizes) for name, x, y in pairs):
            return a
    return None


class _Empty:
    """The schema of what is no operation of torch's."""

    arguments: tuple[Any, ...] = ()
