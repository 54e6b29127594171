"""The softmax of rows, and what a row costs that did not foresee its target."""

import math

from ..runtime.job_words import unpack
from ..simd.math import v_exp, v_maximum
from ..simd.memory_ops import at, count_of, hmax, hsum, keep_n, load1, load_n, store1, store_n


def cross_entropy(words):
    """Logits become softmax - one-hot, and losses[i] = -log softmax[target]; a target below 0 makes zeros of both."""
    i0, i1, V, ld, z, targets, losses = unpack(words, 4, 3)
    vector = count_of(z)
    for i in range(i0, i1):
        row, target = at(z, i * ld), int(load1(targets, i))
        first, wanted = load1(row, 0), load1(row, max(0, target))
        top = keep_n(load_n(row, 0, V), V, first)
        for j in range(vector, V, vector):
            top = v_maximum(top, keep_n(load_n(row, j, V - j), V - j, first))
        most, sums = hmax(top), load_n(row, 0, 0)
        zero = hsum(sums)
        for j in range(0, V, vector):
            e = v_exp(load_n(row, j, V - j) - most)
            store_n(row, j, e, V - j)
            sums = sums + keep_n(e, V - j, zero)
        total = hsum(sums)
        scale = 1 / total if target >= 0 else zero
        for j in range(0, V, vector):
            store_n(row, j, load_n(row, j, V - j) * scale, V - j)
        store1(losses, i, math.log(total) + most - wanted if target >= 0 else zero)
        if target >= 0:
            store1(row, target, load1(row, target) - 1)
