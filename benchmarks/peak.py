"""The machine's peak: our own tile on operands that stay in the innermost cache, on all of torch's threads."""

import time

import torch

from ostinato.kernels.cpu.gemm import host
from ostinato.kernels.cpu.gemm.packing import pack
from ostinato.kernels.cpu.runtime.thread_team import parallel_for

INNER = 96  # with one panel of 64 columns 24 KB
SECONDS = 2.0  # long enough to find a moment when nobody else holds a core


def peak() -> float:
    """GFLOP/s of float32: the best of short runs, for what else the machine does can only take away from it."""
    threads = torch.get_num_threads()
    rows = 4800 * threads
    # All rows are the same one, and what is written is the little that products cannot do without.
    a, w, out = torch.randn(1, INNER).expand(rows, INNER), pack(torch.randn(INNER, 64)), torch.empty(rows, 64)
    jobs = host.linear_jobs(a, w, None, out, threads)
    best, end = float("inf"), time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < end:
        parallel_for(jobs)
        best = min(best, time.perf_counter() - began)
    return 2 * rows * INNER * 64 / best / 1e9
