"""Layers that look at whole sequences and keep no state: several sequences in a row are read apart."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from ..recurrent import Layer


class Stateless(Layer):
    """x [B, T, D] -> y [B, T, D'] with the state (). It cannot stream.

    Write `read`; sequences that resets cut a row into are read apart.
    """

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def scan(
        self, x: Tensor, state: tuple[()], lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, tuple[()]]:
        return each_apart(self.read, x, lengths, resets), ()

    @abstractmethod
    def read(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """x [B, T, D], zero past each row's length [B] -> [B, T, D'], likewise."""


def each_apart(
    read: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, lengths: Tensor | None, resets: Tensor | None
) -> Tensor:
    """`read`, as if each sequence of a row stood in a row of its own.

    Args:
        read: (x [N, T, D], lengths [N] or None) -> [N, T, D'], zero past each row's length.
        x: [B, T, D].
        lengths: [B] int64 in 0..T, or None.
        resets: [B, T] bool, a new sequence begins at that step; or None.

    Returns:
        [B, T, D'], zero past each row's length.
    """
    if resets is None:
        return read(x, lengths)
    batch, steps = resets.shape
    t = torch.arange(steps, device=x.device)
    begins = resets | (t == 0)
    inside = (t < steps if lengths is None else t < lengths[:, None]).expand(batch, steps)
    sequence = begins.flatten().cumsum(0).view(batch, steps) - 1  # [B, T] counted over all rows
    place = t - torch.where(begins, t, 0).cummax(1).values  # [B, T] within its sequence
    at = sequence[inside], place[inside]
    sizes = torch.bincount(at[0], minlength=int(begins.sum()))
    rows = x.new_zeros(len(sizes), max(1, int(sizes.max())), *x.shape[2:]).index_put(at, x[inside])
    y = read(rows, sizes)
    return y.new_zeros(batch, steps, *y.shape[2:]).index_put((inside,), y[at])
