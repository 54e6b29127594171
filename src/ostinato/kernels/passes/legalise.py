"""What a kernel can compute: a product's factor lies in one row of memory, a stored row is what some loop computes.

A leaf, a part of a row or a product that is to be stored is copied. The parts of a factor that is put together of
several rows are stored side by side, in the scratch if they lie nowhere so. Rows of scratch begin at whole vectors.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..ir.buffers import SCRATCH, Kind, Target
from ..ir.graph import Graph, Node, ancestors, offsets
from ..ir.ops import LEAVES, REDUCTIONS
from .plan import Root, side_by_side


@dataclass
class Scratch:
    """Rows of scratch, given away one behind the other.

    Args:
        lanes: of a vector.
        top: numbers of a row that are taken.
    """

    lanes: int
    top: int = 0

    def whole(self, width: int) -> int:
        """A width in whole vectors."""
        return -(-width // self.lanes) * self.lanes

    def take(self, width: int) -> int:
        """Where a row of so many numbers begins."""
        start = self.top
        self.top += self.whole(width)
        return start


@dataclass(frozen=True)
class Placed:
    """Roots that a kernel can compute, and where rows lie.

    Args:
        stores: the targets of each row that is stored.
        place: where a row is read from that is no leaf.
        slots: of each state, two in the scratch: what it is before a step, and after it.
        top: numbers of scratch that a row takes.
    """

    roots: tuple[Node, ...]
    stores: Mapping[Node, tuple[Target, ...]]
    place: Mapping[Node, Target]
    slots: tuple[tuple[int, int], ...]
    top: int


def legalise(
    graph: Graph,
    roots: Iterable[Root],
    state_widths: Sequence[int],
    lanes: int,
    place_copies: bool = True,
    top: int = 0,
) -> Placed:
    """The same rows, by other nodes of the graph where need be.

    Args:
        top: numbers of a row's scratch that are taken.
        place_copies: whether a factor that lies in no row is given room here, or by the loop that needs it.
    """
    scratch = Scratch(lanes, top)
    slots = tuple((scratch.take(width), scratch.take(width)) for width in state_widths)
    work = _Legaliser(graph, scratch)
    stored = [work.root(*root, state_widths) for root in roots]
    for n in ancestors(stored):
        if n.op == "mm":
            work.gather(n, place_copies)
        elif n.op not in ("cat", "join"):
            for a in n.args:
                work.lay(a)
    new = {n: work.rewritten(n) for n in (*stored, *work.stores, *work.place)}
    stores = {new[n]: tuple(targets) for n, targets in work.stores.items()}
    place = {new[n]: target for n, target in work.place.items()}
    return Placed(tuple(new[n] for n in stored), stores, place, slots, scratch.top)


def lies(n: Node) -> bool:
    """Whether a row lies in memory without being stored."""
    return n.op in LEAVES or n.op in ("slice", "view", "mm", "cat", "join")


def accumulates(n: Node) -> bool:
    """Whether a reduction is added up in memory, and not in a vector: so in one place alone."""
    return n.op in REDUCTIONS and n.attr is not None and n.attr != (len(n.args[0].shape) - 1,)


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """How far the next place of each axis is, where the last one is innermost."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


@dataclass
class _Legaliser:
    """Decisions about nodes as they were, and the nodes as they become."""

    graph: Graph
    scratch: Scratch
    stores: dict[Node, list[Target]] = field(default_factory=dict)
    place: dict[Node, Target] = field(default_factory=dict)
    args: dict[Node, tuple[Node, ...]] = field(default_factory=dict)  # other arguments of a node
    new: dict[Node, Node] = field(default_factory=dict)

    def root(self, n: Node, target: Target, state_widths: Sequence[int]) -> Node:
        self.lay(n)
        if n.op == "mm" and n not in self.place and _fills(n, target, state_widths):
            self.place[n] = target
            return n
        return self._stored(n, target)

    def _stored(self, n: Node, target: Target) -> Node:
        self.lay(n)
        if lies(n) or (accumulates(n) and n in self.stores):
            n = self._copy(n, target)
        self.stores.setdefault(n, []).append(target)
        if accumulates(n):
            self.place[n] = target
        return n

    def lay(self, n: Node) -> None:
        """What is put together of several nodes is stored in one place, before anything reads it."""
        if n.op not in ("cat", "join") or n in self.place:
            return
        if n.op == "cat" and (place := side_by_side(n.args, self.stores)):
            self.place[n] = place
            return
        start = self.scratch.take(n.width)
        self.place[n] = Target(SCRATCH, start)
        if n.op == "cat":
            targets = [Target(SCRATCH, start + at) for _, at in offsets(n.args)]
        else:
            axis, begins = n.attr
            strides = strides_of(n.shape)
            ends = (*begins[1:], n.shape[axis])
            targets = []
            for begin, end in zip(begins, ends, strict=True):
                kept = tuple(s for i, s in enumerate(strides) if i != axis or end - begin > 1)
                targets.append(Target(SCRATCH, start + begin * strides[axis], kept))
        self.args[n] = tuple(self._stored(part, target) for part, target in zip(n.args, targets, strict=True))

    def _copy(self, n: Node, attr: object) -> Node:
        return self.graph.node("copy", (n,), n.shape, attr)

    def gather(self, n: Node, place_copies: bool) -> None:
        """A product's factor made of several rows is stored side by side before it; so is what lies in no row."""
        factor = n.args[0]
        if factor.op in ("lookup", "const", "view"):
            copy = self._copy(factor, factor.attr)
            self.args[n] = (copy,)
            if place_copies:
                self.place[copy] = Target(SCRATCH, self.scratch.take(factor.width))
        self.lay(factor)

    def rewritten(self, n: Node) -> Node:
        if n not in self.new:
            args = [self.rewritten(a) for a in self.args.get(n, n.args)]
            self.new[n] = n if tuple(args) == n.args else self.graph.rebuilt(n, args)
        return self.new[n]


def _fills(n: Node, target: Target, state_widths: Sequence[int]) -> bool:
    """Whether it is a whole state: a product overwrites what is beside it, up to whole vectors."""
    to = target.buffer
    return len(n.shape) <= 1 and to.kind is Kind.NEXT and target.at == 0 and n.width == state_widths[to.number]
