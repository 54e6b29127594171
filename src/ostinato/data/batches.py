"""Batches of tokens: parallel streams of one long text, or one document a row. Both resume at any batch."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ostinato.data.buckets import bucketed

IGNORED = -100
"""The target of a padded step: torch's cross entropy leaves it out of sums and means."""


class TokenBatch(NamedTuple):
    """Tokens to read and the tokens that follow them.

    `first` says that the carried state must start anew; otherwise row b continues row b of the batch before it.
    """

    inputs: Tensor  # [B, T] int64
    targets: Tensor  # [B, T] int64, IGNORED where padding
    lengths: Tensor | None  # [B] int64 where rows are padded
    resets: Tensor | None  # [B, T] bool, True where a new sequence begins within a row
    first: bool


def streams(
    ids: Tensor, batch: int, steps: int, *, start: int = 0, rank: int = 0, world: int = 1, offset: int = 0
) -> Iterator[TokenBatch]:
    """One pass over a text for truncated backpropagation through time.

    The text, int64 [N] without its first `offset` tokens, is cut into `batch` contiguous streams, the rows; each batch
    is their next `steps` tokens, the last one what is left of them. Fewer than `batch` tokens at the end of the text
    go unread; another `offset` in the next pass reads them. `start` is the batch to begin with. Of `world` processes,
    the one of `rank` gets its share of the rows, `batch / world` neighbours.

    Raises ValueError for a text too short for one token a stream and for numbers that do not fit.
    """
    count = stream_count(_checked(ids), batch, steps, offset)
    low, high = _share(batch, rank, world)
    _check_start(start, count)
    length = (ids.numel() - offset - 1) // batch
    inputs = ids[offset : offset + batch * length].reshape(batch, length)[low:high]
    targets = ids[offset + 1 : offset + 1 + batch * length].reshape(batch, length)[low:high]

    def cut() -> Iterator[TokenBatch]:
        for index in range(start, count):
            piece = slice(index * steps, (index + 1) * steps)
            yield TokenBatch(inputs[:, piece].contiguous(), targets[:, piece].contiguous(), None, None, index == 0)

    return cut()


def stream_count(n: int, batch: int, steps: int, offset: int = 0) -> int:
    """The number of batches that `streams` makes of `n` tokens. Raises ValueError where there would be none."""
    if batch < 1 or steps < 1 or offset < 0:
        raise ValueError(f"batch and steps must be 1 or more, offset 0 or more; got {batch}, {steps} and {offset}")
    if n - offset <= batch:
        behind = f" behind the offset {offset}" if offset else ""
        raise ValueError(
            f"{batch} streams need at least {batch + 1} tokens{behind}, but the text has {max(n - offset, 0)}; "
            "take a smaller batch or a longer text"
        )
    return -(-((n - offset - 1) // batch) // steps)


def documents(
    docs: Sequence[Tensor], batch: int, *, seed: int, start: int = 0, sort: int = 50, rank: int = 0, world: int = 1
) -> Iterator[TokenBatch]:
    """One pass over documents, int64 [n] each, one a row: inputs and targets [B, n - 1], right padded, with `lengths`.

    `seed` alone decides the order: give another one for each pass. The documents are shuffled, then sorted by length
    within groups of `sort` batches so that little is padding (1: not sorted), and the batches shuffled again. The last
    batch holds what is left of a group. Inputs are padded with 0, targets with IGNORED. `start` is the batch to begin
    with. Of `world` processes, each gets as many neighbouring rows; documents of length 0 fill up where rows lack.

    Raises ValueError for a document of fewer than two tokens, for none at all, and for numbers that do not fit.
    """
    if not docs:
        raise ValueError("at least one document was expected, got none; check the file they come from")
    if batch < 1 or sort < 1:
        raise ValueError(f"batch and sort must be 1 or more, got {batch} and {sort}")
    _share(batch, rank, world)
    sizes = torch.tensor([_checked(doc) for doc in docs])
    short = int(sizes.argmin())
    if sizes[short] < 2:
        raise ValueError(
            f"document {short} has {int(sizes[short])} tokens, but an input and its target are two; "
            "drop it or give it an end token"
        )
    order = bucketed(sizes, batch, seed=seed, sort=sort)
    _check_start(start, len(order))
    return (_padded([docs[index] for index in rows.tolist()], rank, world) for rows in order[start:])


def _padded(docs: list[Tensor], rank: int, world: int) -> TokenBatch:
    rows = -(-len(docs) // world) * world
    # As wide for every rank, so that all processes take the same time and their rows together are the whole batch.
    inputs = torch.zeros(rows, max(len(doc) for doc in docs) - 1, dtype=torch.int64)
    targets = torch.full_like(inputs, IGNORED)
    lengths = torch.zeros(rows, dtype=torch.int64)
    for row, doc in enumerate(docs):
        lengths[row] = len(doc) - 1
        inputs[row, : len(doc) - 1] = doc[:-1]
        targets[row, : len(doc) - 1] = doc[1:]
    low, high = _share(rows, rank, world)
    return TokenBatch(inputs[low:high], targets[low:high], lengths[low:high], None, True)


def _share(rows: int, rank: int, world: int) -> tuple[int, int]:
    if not 0 <= rank < world:
        raise ValueError(f"rank must lie from 0 to world - 1, got rank {rank} of world {world}")
    if rows % world:
        raise ValueError(f"batch must be divisible by world, got {rows} rows for {world} processes; change the batch")
    return rows // world * rank, rows // world * (rank + 1)


def _check_start(start: int, count: int) -> None:
    if not 0 <= start <= count:
        raise ValueError(f"start must lie from 0 to {count}, the number of batches, got {start}; was the text changed?")


def _checked(ids: Tensor) -> int:
    if ids.dim() != 1 or ids.dtype != torch.int64:
        raise ValueError(f"token ids must be int64 [N], got {ids.dtype} {list(ids.shape)}; see Tokenizer.encode")
    return ids.numel()
