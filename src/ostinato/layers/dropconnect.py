"""DropConnect (Wan et al. 2013) on recurrent weights, as the AWD-LSTM has it (Merity et al. 2018, "weight-dropped").

While training, each element of a recurrent matrix is zero with chance p, else divided by 1 - p, at all steps alike.
"""

from typing import Any

from torch import Tensor

from ..kernels.chance import bernoulli
from ..recurrence import Recurrence
from ..recurrent import Cell
from .chances import chance, only_cell


class DropConnect(Cell[Any]):
    """`cell` with dropped recurrent weights. Reads and gives what the cell does, on the kernels of the cell.

    One mask a call, the same for all rows and steps. It falls on the matrices that `cell.weights()` gives; the
    parameters themselves, the input's weights and vectors stay whole. In evaluation mode nothing is dropped.

    Args:
        cell: a Cell.
        p: the chance to drop.

    Raises:
        TypeError: `cell` is no Cell.
        ValueError: p lies outside [0, 1), or the cell has no recurrent matrix.
    """

    def __init__(self, cell: Cell[Any], p: float) -> None:
        super().__init__()
        only_cell(cell, "DropConnect")
        if not any(w.ndim == 2 for w in cell.weights()):
            raise ValueError(f"DropConnect drops recurrent matrices, and {type(cell).__name__} has none; try Zoneout")
        self.cell = cell
        self.p = chance(p)

    @property
    def recurrence(self) -> Recurrence:
        return self.cell.recurrence

    def initial_state(self, batch: int) -> Any:
        return self.cell.initial_state(batch)

    def drive(self, x: Tensor) -> Any:
        return self.cell.drive(x)

    def weights(self) -> tuple[Tensor, ...]:
        weights = self.cell.weights()
        if not self.training or self.p == 0:
            return weights
        return tuple(w * (bernoulli(w, w.shape, 1 - self.p) / (1 - self.p)) if w.ndim == 2 else w for w in weights)

    def emit(self, out: Tensor, x: Tensor) -> Tensor:
        return self.cell.emit(out, x)
