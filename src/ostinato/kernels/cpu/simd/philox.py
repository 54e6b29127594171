"""Random words by counters, in vectors: Philox 4x32-10 (Salmon, Moraes, Dror & Shaw 2011, Parallel random numbers).

A word depends on a key and on its number alone, so threads draw where they like, and vectors of any width the same.
"""

from typing import Any

import llvmlite.ir as ir

from ..runtime.job_words import unpack
from .memory_ops import count_of
from .types import INT64, VectorBuilder, emits

ROUNDS = 10
FACTORS = (0xD2511F53, 0xCD9E8D57)
STEPS = (0x9E3779B9, 0xBB67AE85)  # that the key takes from round to round


def drawn(b: VectorBuilder, at: Any, low: Any, high: Any) -> tuple[Any, Any, Any, Any]:
    """The four words of each counter at + lane.

    low, high: the key. Words are held in 64 bits, where products of two have room.
    """
    wide = ir.VectorType(INT64, b.count)

    def whole(n: int) -> Any:
        return ir.Constant(wide, [n] * b.count)

    def halves(x: Any) -> tuple[Any, Any]:
        return b.ir.lshr(x, whole(32)), b.ir.and_(x, whole(0xFFFFFFFF))

    counter = b.ir.add(b.spread(at), ir.Constant(wide, list(range(b.count))))
    (second, first), third, fourth = halves(counter), whole(0), whole(0)
    keys = [b.spread(low), b.spread(high)]
    for turn in range(ROUNDS):
        if turn:
            keys = [halves(b.ir.add(k, whole(step)))[1] for k, step in zip(keys, STEPS, strict=True)]
        (h0, l0), (h1, l1) = (halves(b.ir.mul(x, whole(f))) for x, f in zip((first, third), FACTORS, strict=True))
        first, second = b.ir.xor(b.ir.xor(h1, second), keys[0]), l1
        third, fourth = b.ir.xor(b.ir.xor(h0, fourth), keys[1]), l0
    return first, second, third, fourth


@emits("void", "pointer", "int", "int", "int", "int", "int")
def draw(b: VectorBuilder, p: Any, at: Any, stride: Any, low: Any, high: Any, bound: Any) -> None:
    """p[at + lane + stride i] = 1 where word i of 4 of the counter at + lane is below the bound, else 0."""
    for i, word in enumerate(drawn(b, at, low, high)):
        hit = b.ir.icmp_signed("<", word, b.spread(bound))
        b.store(p, b.ir.add(at, b.ir.mul(stride, INT64(i))), b.ir.select(hit, b.const(1.0), b.const(0.0)))


@emits("void", "pointer", "pointer", "int", "int", "int", "int", "int", "int")
def sift(b: VectorBuilder, x: Any, out: Any, at: Any, stride: Any, count: Any, low: Any, high: Any, bound: Any) -> None:
    """out = x 2^32 / bound where `draw` gives 1, else 0, for those of its places that are below the count."""
    scale = b.ir.fdiv(b.const(2.0**32), b.ir.uitofp(b.spread(bound), b.type))
    for i, word in enumerate(drawn(b, at, low, high)):
        hit = b.ir.icmp_signed("<", word, b.spread(bound))
        place = b.ir.add(at, b.ir.mul(stride, INT64(i)))
        rest = b.ir.sub(count, place)
        rest = b.ir.select(b.ir.icmp_signed("<", rest, INT64(b.count)), rest, INT64(b.count))
        value = b.ir.fmul(b.masked("load", b.type, x, place, rest, b.const(0.0)), scale)
        b.masked("store", ir.VoidType(), out, place, rest, b.ir.select(hit, value, b.const(0.0)))


def bernoulli(words):
    i, j, stride, low, high, bound, out = unpack(words, 6, 1)
    for g in range(i, j, count_of(out)):
        draw(out, g, stride, low, high, bound)


def dropout(words):
    i, j, stride, count, low, high, bound, x, out = unpack(words, 7, 2)
    for g in range(i, j, count_of(out)):
        sift(x, out, g, stride, count, low, high, bound)
