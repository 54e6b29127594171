"""What stands past the rows' lengths."""

from ..runtime.job_words import unpack
from ..simd.memory_ops import at, count_of, load1, load_n, store_n


def zero_past_lengths(words):
    """Zeros in rows i .. j - 1 of x [B, T, W] past their lengths [B]."""
    i, j, T, W, lengths, x = unpack(words, 4, 2)
    end, zero = T * W, load_n(x, 0, 0)
    for n in range(i, j):
        row = at(x, n * end)
        for g in range(int(load1(lengths, n)) * W, end, count_of(x)):
            store_n(row, g, zero, end - g)
