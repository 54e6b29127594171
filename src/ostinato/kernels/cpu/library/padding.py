"""What stands past the rows' lengths: padding is most often the smaller part, so that alone is written."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..runtime.jobs import Job, c_function, dtype_of, spans
from ..runtime.thread_team import parallel_for


def zero_past_lengths(tensors: Sequence[Tensor], lengths: Tensor) -> None:
    """Zeros, in place, past the lengths [B] of each [B, T, ...]: contiguous, and of the lengths' dtype."""
    lengths, jobs = lengths.contiguous(), list[Job]()
    for x in tensors:
        assert x.is_contiguous() and x.dtype == lengths.dtype and x.shape[0] == len(lengths)
        if not x.numel():
            continue
        function, each = c_function("library.padding_device.zero_past_lengths", dtype_of(x)), x[0, 0].numel()
        sizes, places = (x.shape[1], each), (lengths.data_ptr(), x.data_ptr())
        jobs += [(function, (i, j, *sizes, *places)) for i, j in spans(len(x), torch.get_num_threads(), 1)]
    parallel_for(jobs)
