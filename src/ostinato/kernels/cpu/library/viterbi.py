"""The best path through a linear chain (Viterbi 1967), rows dealt out to the threads."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.jobs import c_function, dtype_of, spans
from ..runtime.thread_team import parallel_for
from ..simd.width import lanes


def viterbi(scores: Tensor, start: Tensor, between: Tensor, end: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The path of the highest score of each row; of equals, the one of the lowest tags.

    Args:
        scores: [B, T, K] float32 or float64, not empty, and of the same dtype start [K], between [K, K] and end [K].
        lengths: [B] int64 in 0..T.

    Returns:
        Paths [B, T] int64, -1 past a row's length, and their scores [B]; those of a row of length 0 mean nothing.
    """
    rows, steps, tags = scores.shape
    dtype = scores.dtype
    kind = dtype_of(scores)
    width = -(-tags // lanes(kind).count) * lanes(kind).count
    between = F.pad(between, (0, width - tags), value=-torch.inf).contiguous()
    sizes = lengths.clamp(0, steps).to(dtype)
    paths, best = scores.new_full((rows, steps), -1.0), scores.new_empty(rows)
    parts = spans(rows, torch.get_num_threads(), 1)
    room = scores.new_empty(len(parts), (steps + 2) * width)
    given = [scores.contiguous(), start.contiguous(), between, end.contiguous(), sizes, paths, best]
    places = [t.data_ptr() for t in given]
    function = c_function("library.viterbi_device.viterbi", kind)
    parallel_for(
        [(function, (i, j, steps, tags, *places, r.data_ptr())) for (i, j), r in zip(parts, room, strict=True)]
    )
    return paths.long(), best
