"""What a direction of a derived scan, forward or backward, takes and runs on."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor

from ..compiler import Direction
from ..ir.buffers import Buffer

Arrays = dict[Buffer, Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """Lengths [B] and resets [B, T], in the dtype of the kernel, and the states [B, ...] that a reset returns to."""

    lengths: Tensor | None = None
    resets: Tensor | None = None
    initial: tuple[Tensor, ...] = ()


class Launch(NamedTuple):
    """A direction with all that it reads and writes."""

    direction: Direction
    rows: int
    steps: int
    arrays: Arrays
    options: Options


class Outer(NamedTuple):
    """A product over batch and steps, a^T b; with `start` [B, N] b is one step late."""

    a: Tensor  # [B, T, D]
    b: Tensor  # [B, T, N]
    start: Tensor | None = None


class Along(NamedTuple):
    """A product with a matrix at all steps."""

    x: Tensor  # [B, T, K]
    packed: Tensor  # of a matrix [K, width]
    width: int


class Executor(Protocol):
    """What does launches, and the products over all steps."""

    lanes: int  # of a vector
    name: str  # the dtype
    kind: str  # of products: the dtype, or one that factors are rounded to

    def empty(self, *shape: int) -> Tensor:
        """Memory whose values do not matter."""
        ...

    def clear(self, arrays: Sequence[Tensor], lengths: Tensor) -> None:
        """Zeros, in place, past the lengths [B] of each [B, T, width]."""
        ...

    def packs(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        """Matrices [K, N] as the tile reads them."""
        ...

    def products(
        self, outers: Sequence[Outer], alongs: Sequence[Along], lengths: Tensor | None
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        """([D, N] and the sum of a, [D], of each outer), and [B, T, width] of each along.

        Steps past the lengths [B] do not count, and are zero.
        """
        ...

    def launch(self, launches: Sequence[Launch]) -> None:
        """Does some launches that do not depend on each other, over all rows."""
        ...


Work = Generator[Launch, None, T]  # gives one launch away, which somebody does, and then has its result


def together(executor: Executor, works: Sequence[Work[T]]) -> list[T]:
    """The results of some works that do not depend on each other: their launches are done at once."""
    executor.launch([next(work) for work in works])
    return [_rest(work) for work in works]


def _rest(work: Work[T]) -> T:
    try:
        next(work)
    except StopIteration as end:
        return end.value
    raise AssertionError("a work gives one launch away")
