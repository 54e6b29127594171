"""Leaves of drives and states as kernels hold them: features in one row, the longest axis innermost."""

from collections.abc import Sequence

from torch import Tensor

from ..lower.values import order_of


def as_rows(leaf: Tensor, lead: int) -> Tensor:
    """A leaf [..., *features] behind `lead` axes as [..., width]."""
    sizes = leaf.shape[lead:]
    if len(sizes) == 1:
        return leaf
    return leaf.permute(*range(lead), *(lead + i for i in _order(sizes))).flatten(lead) if sizes else leaf.unsqueeze(-1)


def as_leaf(rows: Tensor, lead: int, sizes: Sequence[int]) -> Tensor:
    """Rows [..., width] behind `lead` axes as the leaf [..., *sizes]."""
    if len(sizes) == 1:
        return rows
    order = _order(sizes)
    leaf = rows.unflatten(-1, [sizes[i] for i in order]) if sizes else rows.squeeze(-1)
    return leaf.permute(*range(lead), *(lead + order.index(i) for i in range(len(sizes))))


def _order(sizes: Sequence[int]) -> list[int]:
    longer = order_of(sizes)
    return [i for i in range(len(sizes)) if i not in longer] + longer
