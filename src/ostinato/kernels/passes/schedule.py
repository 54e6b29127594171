"""In which order a step is computed: matrix products, and loops over features between them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..ir.graph import Node, ancestors
from ..ir.ops import LEAVES, REDUCTIONS


@dataclass(frozen=True)
class Multiply:
    """A row, or several of each row of the batch, times a matrix."""

    node: Node


@dataclass(frozen=True)
class Loop:
    """Pointwise operations over values of one shape, and reductions of such, fused."""

    shape: tuple[int, ...]
    nodes: tuple[Node, ...]


Stage = Multiply | Loop


def schedule(roots: Iterable[Node]) -> list[Stage]:
    """The stages that compute `roots`, each after what it needs.

    Products come as early as they can; the loop that is taken is the one that moves most towards the next product or
    reduction. A reduction ends its loop: what needs its result comes in a later one. Loops over several axes wait for
    the smaller ones, so that each does as much as it can at once: what it leaves undone goes through memory.
    """
    wanted_at_last = dict.fromkeys(roots)
    nodes = ancestors(wanted_at_last)
    stored = {*wanted_at_last, *(part for n in nodes if n.op == "mm" for part in (n.args[0], *n.args[0].args))}
    stored |= {part for n in nodes if n.op in ("join", "cat") for part in n.args}
    finished: set[Node] = set()
    inline = {n for n in nodes if _inline(n, stored)}
    pending = [n for n in nodes if n.op not in LEAVES and n not in inline]
    stages: list[Stage] = []
    while pending:
        ready = [n for n in pending if n.op == "mm" and _done(n.args[0], finished, inline)]
        if ready:
            stages += [Multiply(n) for n in ready]
        else:
            loop = _largest(pending, wanted_at_last, finished, inline)
            stages.append(loop)
            ready = list(loop.nodes)
        finished.update(ready)
        pending = [n for n in pending if n not in finished]
    return stages


def _inline(n: Node, stored: set[Node]) -> bool:
    """Not a stage's work: views, and single numbers a row, which are computed where they are used."""
    if n.op in ("slice", "view", "cat", "join"):
        return True
    return n.width == 1 and n.op not in REDUCTIONS and n.op not in LEAVES and n.op != "mm" and n not in stored


def _done(n: Node, finished: set[Node], inline: set[Node]) -> bool:
    if n.op in LEAVES or n in finished:
        return True
    return n in inline and all(_done(a, finished, inline) for a in n.args)


def _span(n: Node) -> tuple[int, ...]:
    return n.args[0].shape if n.op in REDUCTIONS else n.shape


def _largest(pending: list[Node], roots: dict[Node, None], finished: set[Node], inline: set[Node]) -> Loop:
    """The loop over one shape that computes most of what is wanted next."""
    heavy = [n for n in pending if n.op == "mm" or n.op in REDUCTIONS]
    wanted = ancestors(heavy) if heavy else dict.fromkeys(pending)
    found: list[Loop] = []
    for shape in sorted({_span(n) for n in pending}):
        own: dict[Node, None] = {}
        for n in pending:
            fits = n.op != "mm" and _span(n) == shape
            ready = fits and all(_done(a, finished, inline) or (a in own and a.op not in REDUCTIONS) for a in n.args)
            if ready and (len(shape) > 1 or n in wanted or (n in roots and any(a in own for a in n.args))):
                own[n] = None
        if own:
            found.append(Loop(shape, tuple(own)))
    assert found, "nothing can be computed next: the graph has a circle"
    best = max(found, key=lambda loop: len(loop.nodes))
    if len(best.shape) > 1:
        best = min(found, key=lambda loop: math.prod(loop.shape))
    return best
