"""Viterbi's algorithm as a C function over a job's array: see runtime/jobs.py. It needs Numba to be compiled.

The oracle is `recurrences.viterbi._loop`. Ties go to the tag of the lowest number. The K tags stand in W places, K
filled up to whole vectors.
"""

from ..runtime.job_words import unpack
from ..simd.math import v_where
from ..simd.memory_ops import at, count_of, load, load1, load_n, store, store1
from ..simd.types import OPERATIONS

v_gt = OPERATIONS["v_gt"].bound()


def viterbi(words):
    """Rows i0 .. i1 - 1 of scores [B, T, K], with between [K, W], room for (T + 2) W numbers, and paths [B, T]."""
    i0, i1, T, K, scores, start, between, end, lengths, paths, worth, room = unpack(words, 4, 8)
    vector = count_of(scores)
    W = (K + vector - 1) // vector * vector
    came = at(room, 2 * W)
    none = load_n(scores, 0, 0)
    for i in range(i0, i1):
        row, path, steps = at(scores, i * T * K), at(paths, i * T), int(load1(lengths, i))
        for j in range(0, K, vector):
            store(room, j, load_n(row, j, K - j) + load_n(start, j, K - j))
        for t in range(1, steps):
            ways, after = at(room, (t - 1) % 2 * W), at(room, t % 2 * W)
            for j in range(0, K, vector):
                top, tag = load(between, j) + load1(ways, 0), none
                for k in range(1, K):
                    each = load(between, k * W + j) + load1(ways, k)
                    more = v_gt(each, top)
                    top, tag = v_where(more, each, top), v_where(more, none + k, tag)
                store(after, j, top + load_n(row, t * K + j, K - j))
                store(came, t * W + j, tag)
        best, tag1, last = load1(room, 0), 0, at(room, (max(steps, 1) - 1) % 2 * W)
        for j in range(K):
            each1 = load1(last, j) + load1(end, j)
            if j == 0 or each1 > best:
                best, tag1 = each1, j
        store1(worth, i, best)
        for t in range(steps - 1, -1, -1):
            store1(path, t, tag1)
            if t:
                tag1 = int(load1(came, t * W + tag1))
