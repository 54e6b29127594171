"""Rows by length, the longest first, and back again."""

from torch import Tensor

from ... import tree
from ..._torch import pytree
from ..table import Affine, Call, is_affine


def by_length(call: Call, watched: bool) -> tuple[Call, Tensor | None]:
    """The call with the longest row first, and the order of its rows; None where they are in order already.

    So the rows that are still read are the first ones, and padding costs nothing.

    Args:
        watched: whether somebody follows operations: what they see does not hang on the lengths' values.
    """
    if call.lengths is None or (not watched and _descend(call.lengths)):
        return call, None
    lengths, order = call.lengths.sort(descending=True, stable=True)
    drive, state, resets, initial = pytree.tree_map(
        lambda leaf: leaf._replace(x=_taken(leaf.x, order)) if isinstance(leaf, Affine) else _taken(leaf, order),
        (call.drive, call.state, call.resets, call.initial), is_leaf=is_affine,
    )  # fmt: skip
    return Call(call.recurrence, drive, state, call.weights, lengths, resets, initial), order


def _descend(lengths: Tensor) -> bool:
    return not tree.watched() and bool((lengths[1:] <= lengths[:-1]).all())


def _taken(t: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if t is None else tree.permuted(t, rows)


def in_given_order(t: Tensor, order: Tensor | None) -> Tensor:
    """Rows in the order that the call gave them in."""
    return t if order is None else tree.permuted(t, order.argsort(), order)
