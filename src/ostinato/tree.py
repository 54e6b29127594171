"""Trees of tensors: nested tuples, NamedTuples, lists and dicts. Every leaf of a state carries the batch on axis 0."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ._torch import in_dispatch_mode, in_transform, pytree

T = TypeVar("T")


def map(fn: Callable[..., Any], tree: T, *rest: T) -> T:
    """`fn` applied leaf by leaf; the trees must have the same structure."""
    return pytree.tree_map(fn, tree, *rest)


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of a tree, in order."""
    # What most trees are, without a walk: each scan asks several times.
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, tuple) and all(isinstance(part, Tensor) for part in tree):
        return list(tree)
    return pytree.tree_leaves(tree)


def structure(tree: Any) -> pytree.TreeSpec:
    """How a tree is built, without its leaves: equal for trees that can stand for each other."""
    return pytree.tree_structure(tree)


def like(tree: Any, new: Sequence[Tensor]) -> Any:
    """The structure of `tree` filled with the leaves `new`."""
    if isinstance(tree, tuple) and len(tree) == len(new) and all(isinstance(part, Tensor) for part in tree):
        return type(tree)(*new) if hasattr(tree, "_fields") else tuple(new)
    return pytree.tree_unflatten(list(new), structure(tree))


def where(rows: Tensor, new: T, old: T) -> T:
    """Row by row: `new` where `rows` [B] is true, else `old`."""

    def pick(n: Tensor, o: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (n.ndim - 1)), n, o)

    return map(pick, new, old)


def select(tree: T, rows: Tensor) -> T:
    """The states of `rows` [N] int64, in that order: beam reordering, batching of sessions."""
    return map(lambda leaf: leaf.index_select(0, rows), tree)


def detach(tree: T) -> T:
    """The same values, cut off from the graph that made them: truncated BPTT."""
    return map(Tensor.detach, tree)


def at(tree: T, t: int) -> T:
    """Time step `t` of a tree whose leaves are [B, T, ...]."""
    return map(lambda leaf: leaf[:, t], tree)


def stack(trees: Sequence[T]) -> T:
    """Steps stacked on a new time axis: T trees of [B, ...] become one of [B, T, ...]."""
    return map(lambda *leaf: torch.stack(leaf, dim=1), *trees)


def masked(y: Tensor, lengths: Tensor | None) -> Tensor:
    """`y` [B, T, ...] with zeros past each row's length [B]; `y` itself where there are no lengths."""
    if lengths is None:
        return y
    inside = torch.arange(y.shape[1], device=y.device) < lengths[:, None]  # [B, T]
    return torch.where(inside.view(*inside.shape, *[1] * (y.ndim - 2)), y, y.new_zeros(()))


def watched() -> bool:
    """Whether somebody follows operations (torch.compile, a dispatch mode, vmap): then there are no plain values."""
    traced = torch.compiler.is_compiling() or in_dispatch_mode()
    return traced or in_transform()


def permuted(x: Tensor, rows: Tensor, inverse: Tensor | None = None) -> Tensor:
    """The rows of `x` [N, ...] in another order: row n of the result is x[rows[n]].

    Args:
        rows: [N] int64, each of 0..N-1 once.
        inverse: [N] int64, the permutation that leads back, if known: one that is its own inverse.
    """
    if watched():
        return x.index_select(0, rows)
    return _Permuted.apply(x, rows, rows.argsort() if inverse is None else inverse)


class _Permuted(torch.autograd.Function):
    """`index_select`, whose own gradient would add each row to zeros; of a permutation it is the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(rows, inverse)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        rows, inverse = ctx.saved_tensors
        return _Permuted.apply(grads[0], inverse, rows), None, None
