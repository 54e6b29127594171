"""One direction of a scan in the loop IR, and what it takes to run it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from ..ir.buffers import Buffer
from ..ir.loops import Body, Function


@dataclass(frozen=True)
class Program:
    """One direction: "forward", "backward", or "inference", which is forward that keeps nothing.

    Args:
        room: numbers of scratch a row of a block ...
        beside: ... and besides.
        vectors: weights, the same for all rows.
        tables: weights of which each row of the batch reads one row.
        columns: of each packed matrix.
        apart: whether a row of the batch gains nothing by others beside it: no matrix is multiplied with few rows.
    """

    function: Function
    room: int
    beside: int
    vectors: Mapping[Buffer, fx.Node]
    tables: Mapping[Buffer, fx.Node]
    columns: Mapping[Buffer, int]
    apart: bool

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def arrays(self) -> tuple[Buffer, ...]:
        """The arrays whose addresses it takes, after the words of `time_loop.HEAD`."""
        return self.function.arrays


@dataclass(frozen=True)
class StepProgram:
    """One step of one row, without the loops around it.

    Args:
        first: where the scratch begins.
        room: numbers of it.
        vectors, tables: see `Program`.
        matrices: [K, N], not packed.
    """

    body: Body
    first: int
    room: int
    vectors: Mapping[Buffer, fx.Node]
    tables: Mapping[Buffer, fx.Node]
    matrices: Mapping[Buffer, fx.Node]
