"""The arrays that a scan's kernel reads and writes: what each one is, once; its name is the renderer's.

Over time an array is [B, T, width]; beside it stand arrays [B, width] of the states, weights that are the same for all
rows, and rows of a job's own scratch.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Extent(Enum):
    """Along what an array lies."""

    PER_STEP = "[B, T, width]"
    PER_SEGMENT = "[B, segments, width]"
    PER_ROW = "[B, width]"
    WEIGHT = "the same for all rows and steps"
    SCRATCH = "of a job's own: rows of a block"


class Kind(Enum):
    """What an array holds. `written_by` and `read_by` are directions: "forward" (and inference), "backward"."""

    DRIVE = "drive", Extent.PER_STEP, "", "forward backward"  # what drives the step; of leaf `number`
    DRIVE_GRADIENT = "ddrive", Extent.PER_STEP, "backward", ""
    OUT = "out", Extent.PER_STEP, "forward", "backward"
    OUT_GRADIENT = "cot", Extent.PER_STEP, "", "backward"
    HISTORY = "hist", Extent.PER_STEP, "forward", "backward"  # state `number` after each step, where it is no output
    SAVED = "saved", Extent.PER_STEP, "forward", "backward"  # expensive values of forward, side by side
    KEPT = "kept", Extent.PER_STEP, "forward backward", "backward"  # a factor of a matrix's gradient
    CHECKPOINT = "check", Extent.PER_SEGMENT, "forward", "backward"  # state `number` before each segment of steps
    # States in the scratch. `NEXT` is the state after the step, or in backward its gradient before it.
    STATE = "state", Extent.SCRATCH, "forward backward", "forward backward"
    NEXT = "next", Extent.SCRATCH, "forward backward", "forward backward"
    STATE_GRADIENT = "dstate", Extent.SCRATCH, "backward", "backward"
    SCRATCH = "S", Extent.SCRATCH, "forward backward", "forward backward"
    # States at the ends of a scan, and what a reset returns to.
    START = "start", Extent.PER_ROW, "", "forward backward"
    LAST = "last", Extent.PER_ROW, "forward", ""
    INITIAL = "initial", Extent.PER_ROW, "", "forward backward"
    LAST_GRADIENT = "dlast", Extent.PER_ROW, "", "backward"
    START_GRADIENT = "dfirst", Extent.PER_ROW, "backward", ""
    INITIAL_GRADIENT = "dinitial", Extent.PER_ROW, "backward", "backward", True
    SUMS = "sums", Extent.PER_ROW, "backward", "backward", True  # gradients of vectors, side by side
    VECTOR = "w", Extent.WEIGHT, "", "forward backward"
    TABLE = "e", Extent.WEIGHT, "", "forward backward"  # of which a row of the batch reads one row
    MATRIX = "m", Extent.WEIGHT, "", "forward backward"  # packed
    # A leaf of the drive that is made inside, x W + b: `number` is the leaf's.
    INPUT = "xdrive", Extent.PER_STEP, "", "forward"
    INPUT_MATRIX = "mdrive", Extent.WEIGHT, "", "forward"  # packed
    INPUT_BIAS = "bdrive", Extent.WEIGHT, "", "forward"
    INPUT_ROWS = "in_drive", Extent.SCRATCH, "forward", "forward"  # x of some steps, side by side
    INPUT_PRODUCT = "out_drive", Extent.SCRATCH, "forward", "forward"
    # No array of a kernel: what products over all steps take besides, by the leaf of the drive.
    INPUT_TURNED = "along", Extent.WEIGHT, "", ""  # W^T, packed

    def __init__(self, label: str, extent: Extent, written_by: str, read_by: str, accumulated: bool = False) -> None:
        self.label, self.extent, self.accumulated = label, extent, accumulated
        self.written_by, self.read_by = frozenset(written_by.split()), frozenset(read_by.split())

    # By identity: buffers are keys on the way of every scan.
    __hash__ = object.__hash__

    @property
    def shared(self) -> bool:
        """Whether threads that take the same rows may have it in common: what is added to, only one may add to."""
        return not self.accumulated

    @property
    def packed(self) -> bool:
        """Whether it is a matrix as the product's tile reads it."""
        return self in _PACKED

    @property
    def single(self) -> bool:
        """Whether there is one of the kind, which needs no number."""
        return self in _SINGLE


_PACKED = frozenset((Kind.MATRIX, Kind.INPUT_MATRIX, Kind.INPUT_TURNED))
_SINGLE = frozenset((Kind.OUT, Kind.OUT_GRADIENT, Kind.SAVED, Kind.SCRATCH, Kind.SUMS))
KINDS = {kind.label: kind for kind in Kind}  # a leaf "in" of the graph says its kind by the label


class Buffer(NamedTuple):
    """An array: one of its kind."""

    kind: Kind
    number: int = 0

    def __str__(self) -> str:
        return self.kind.label if self.kind.single else f"{self.kind.label}{self.number}"


OUT, OUT_GRADIENT = Buffer(Kind.OUT), Buffer(Kind.OUT_GRADIENT)
SAVED, SUMS, SCRATCH = Buffer(Kind.SAVED), Buffer(Kind.SUMS), Buffer(Kind.SCRATCH)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a value is stored: at place `at` of a buffer's row.

    Args:
        strides: how far the next place of each of its axes is; None: side by side.
    """

    buffer: Buffer
    at: int
    strides: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"{self.buffer}[{self.at}:]"
