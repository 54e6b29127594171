"""torch.nn's layouts of a sequence, and ours: [B, T, D] with lengths. `given` is always what the user handed over.

A PackedSequence stays in its own order, the longest row first; only states change between that and the user's order.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from . import autocast


class InputError(ValueError, RuntimeError):
    """An input or a state does not fit. torch.nn raises a ValueError or a RuntimeError; this is both."""


def check(given: Any, width: int, dtype: torch.dtype) -> None:
    """Raises InputError where torch.nn would raise: another type, dtype, number of axes, or width; no step."""
    packed = isinstance(given, PackedSequence)
    x = given.data if packed else given
    if not isinstance(x, Tensor):
        raise InputError(f"the input must be a tensor or a PackedSequence, and is a {type(x).__name__}")
    if x.dtype != dtype and not autocast.enabled(x):
        raise InputError(
            f"the input is {x.dtype} and the weights are {dtype}: write input.to({dtype}) or model.to({x.dtype})"
        )
    if x.ndim not in ((2,) if packed else (2, 3)) or x.shape[-1] != width:
        kind = "the data of a PackedSequence must be [N," if packed else "the input must be [T, B, D], [B, T, D] or [T,"
        raise InputError(f"{kind} D] with D = input_size = {width}, and has shape {tuple(x.shape)}")


def rows(given: Any, batch_first: bool) -> tuple[Tensor, Tensor | None]:
    """(x [B, T, D], lengths [B] int64 or None where all rows are T long)."""
    if isinstance(given, PackedSequence):
        x, lengths = _padded(given, given.data)
        return x, None if lengths[-1] == x.shape[1] else lengths.to(x.device)
    if given.ndim == 2:
        return given[None], None
    return given if batch_first else given.transpose(0, 1), None


def sequence(y: Tensor, lengths: Tensor | None, given: Any, batch_first: bool, copy: bool) -> Any:
    """y [B, T, H] in the layout of `given`; with `copy` in memory of its own.

    Backward may want y as it is, and people change an output in place: `out += residual`.
    """
    if isinstance(given, PackedSequence):
        ends = torch.full((len(y),), y.shape[1]) if lengths is None else lengths.cpu()
        return given._replace(data=pack_padded_sequence(y, ends, batch_first=True).data)
    if given.ndim == 2:
        y = y[0]
    elif not batch_first:
        y = y.transpose(0, 1)
    # Contiguous, as from torch: people call `view` on it.
    return y.clone(memory_format=torch.contiguous_format) if copy else y.contiguous()


def start(leaf: Tensor, given: Any) -> Tensor:
    """A leaf of the user's hx as [N, B, H], its rows in the order of `rows`."""
    if isinstance(given, PackedSequence):
        return leaf if given.sorted_indices is None else leaf.index_select(1, given.sorted_indices)
    return leaf[:, None] if given.ndim == 2 else leaf


def final(leaf: Tensor, given: Any) -> Tensor:
    """The way back: a leaf [N, B, H] as the user gets it."""
    if isinstance(given, PackedSequence):
        return leaf if given.unsorted_indices is None else leaf.index_select(1, given.unsorted_indices)
    return leaf[:, 0] if given.ndim == 2 else leaf


def dropped(y: Tensor, given: Any, p: float) -> Tensor:
    """y [B, T, H] with each element dropped with chance p.

    The mask is drawn in torch's order, so that on the CPU one seed trains both alike.
    """
    if isinstance(given, PackedSequence):
        ones = y.new_ones(len(given.data), y.shape[2])
        return y * _padded(given, F.dropout(ones, p))[0]
    ones = y.new_ones(y.shape[1], y.shape[0], y.shape[2])
    return y * F.dropout(ones, p).transpose(0, 1)


def _padded(given: PackedSequence, data: Tensor) -> tuple[Tensor, Tensor]:
    """`data` [N, ...], ordered as the data of `given`, as [B, T, ...], and the lengths, falling."""
    return pad_packed_sequence(PackedSequence(data, given.batch_sizes), batch_first=True)
