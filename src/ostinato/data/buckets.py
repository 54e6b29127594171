"""Batches of rows of like length, so that little is padding, in an order that the seed alone decides."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def bucketed(
    sizes: Sequence[int] | Tensor, batch: int, *, seed: int, max_tokens: int | None = None, sort: int = 50
) -> list[Tensor]:
    """One pass over rows of `sizes` ([N]): the rows of each batch, int64 [B] with B <= `batch`; every row once.

    The rows are shuffled, then sorted by size within groups of `sort` batches (1: not sorted), the longest first, cut
    into batches, and the batches shuffled. With `max_tokens` a batch also holds at most so many tokens, padding
    counted; a row longer than that stands alone. Give another seed for each pass. The last batch of a group holds what
    is left of it.

    Raises ValueError for no rows and for numbers below 1.
    """
    lengths = torch.as_tensor(sizes)
    if lengths.dim() != 1 or not len(lengths):
        raise ValueError(f"sizes [N] of at least one row were expected, got {list(lengths.shape)}; check the file")
    if batch < 1 or sort < 1:
        raise ValueError(f"batch and sort must be 1 or more, got {batch} and {sort}")
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens must be 1 or more, got {max_tokens}; None sets no limit")
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(lengths), generator=generator)
    batches: list[Tensor] = []
    for group in shuffled.split(batch * sort):
        # The longest row first: so kernels want them, which would reorder each batch otherwise.
        by_size = group[lengths[group].argsort(stable=True, descending=True)] if sort > 1 else group
        batches.extend(by_size.split(_widths(lengths[by_size], batch, max_tokens)))
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


def fitted(batches: Sequence[Tensor], sizes: Sequence[int], count: int) -> list[Tensor]:
    """The same rows in `count` batches: the smallest two become one, or the largest two, as often as needed.

    With a limit of tokens the seed decides how many batches there are, but all epochs of a training have as many.

    Args:
        batches: the rows of each, int64 [B], as `bucketed` gives them.
        sizes: of all rows, in tokens.
    """
    made = list(batches)

    def cells(i: int) -> int:
        return len(made[i]) * max(sizes[row] for row in made[i].tolist())

    while len(made) > count:
        small, other = sorted(range(len(made)), key=cells)[:2]
        made[other] = torch.cat([made[other], made[small]])
        del made[small]
    while len(made) < count:
        large = max((i for i in range(len(made)) if len(made[i]) > 1), key=cells)
        half = len(made[large]) // 2
        made[large : large + 1] = [made[large][:half], made[large][half:]]
    return made


def padding_share(batches: Iterable[Tensor], sizes: Sequence[int] | Tensor) -> float:
    """The share of padding among all cells of the padded batches, from 0 (none) to 1."""
    lengths = torch.as_tensor(sizes)
    filled = cells = 0
    for rows in batches:
        filled += int(lengths[rows].sum())
        cells += len(rows) * int(lengths[rows].max())
    return 1 - filled / cells if cells else 0.0


def pad(rows: Sequence[Tensor], value: float = 0) -> tuple[Tensor, Tensor]:
    """Rows [t, ...] of one dtype and equal further axes, right padded with `value` to [B, T, ...]; lengths int64 [B].

    Raises ValueError for no rows, and for rows of different dtypes or further axes.
    """
    if not rows:
        raise ValueError("at least one row was expected, got none; was the batch filtered?")
    kinds = {(row.dtype, tuple(row.shape[1:])) for row in rows}
    if len(kinds) > 1 or not rows[0].dim():
        shown = " and ".join(sorted(f"{row_dtype} [t, {', '.join(map(str, rest))}]" for row_dtype, rest in kinds))
        raise ValueError(f"rows [t, ...] of one dtype and equal further axes were expected, got {shown}; convert them")
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value), lengths


def widen(rows: Sequence[Tensor]) -> Tensor:
    """Rows [t, ...] of one dtype and of any sizes as [B, T, ...]: each axis as long as its longest, 0 behind.

    Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("at least one row was expected, got none; was the batch filtered?")
    shape = [max(row.shape[axis] for row in rows) for axis in range(rows[0].dim())]
    whole = rows[0].new_zeros(len(rows), *shape)
    for place, row in zip(whole, rows, strict=True):
        place[tuple(slice(size) for size in row.shape)] = row
    return whole


def _widths(lengths: Tensor, batch: int, max_tokens: int | None) -> list[int] | int:
    if max_tokens is None:
        return batch
    widths, count, longest = [], 0, 0
    for length in lengths.tolist():
        longest = max(longest, length)
        if count and (count == batch or (count + 1) * longest > max_tokens):
            widths.append(count)
            count, longest = 0, length
        count += 1
    return [*widths, count]
