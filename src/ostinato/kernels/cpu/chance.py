"""Ones and zeros by chance, on the threads of torch's team: torch draws them one by one, on one thread."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .jobs import c_function, dtype_of, spans
from .lanes import LARGEST
from .memory import empty
from .team import together


def bernoulli(shape: Sequence[int], p: float, dtype: torch.dtype) -> Tensor:
    """Ones with chance p in [0, 1), rounded to 32 bits, else zeros: float32 or float64.

    Two words of torch's generator are the key; so `torch.manual_seed` decides, on any machine and number of threads.
    """
    count = math.prod(shape)
    stride = -(-count // (4 * LARGEST)) * LARGEST  # each counter draws four, so far from each other
    made = empty((4 * stride,), dtype)
    low, high = torch.empty(2, dtype=torch.int64).random_(1 << 32).tolist()
    function, threads = c_function("chance.bernoulli", dtype_of(made)), torch.get_num_threads()
    rest = (stride, low, high, round(p * 2**32), made.data_ptr())
    together([(function, (i, j, *rest)) for i, j in spans(stride, threads, LARGEST)])
    return made[:count].view(tuple(shape))
