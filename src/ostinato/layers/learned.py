"""An initial state that is learnt (lecture S0 section 3.1 starts from zeros)."""

from typing import Any

from torch import Tensor, nn

from .. import tree
from ..recurrent import Cell, Recurrent


class LearnedState(Recurrent[Any]):
    """`cell`, starting from parameters, the same for all rows; a reset returns to them.

    Args:
        cell: its own initial state is where the parameters start. Each leaf must be floating.
    """

    def __init__(self, cell: Cell[Any]) -> None:
        super().__init__()
        self.cell = cell
        one = cell.initial_state(1)
        self.start = nn.ParameterList(nn.Parameter(leaf[0].detach().clone()) for leaf in tree.leaves(one))

    def initial_state(self, batch: int) -> Any:
        leaves = [p.expand(batch, *p.shape) for p in self.start]
        return tree.like(self.cell.initial_state(1), leaves)

    def scan(self, x: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None) -> tuple[Tensor, Any]:
        call = self.cell.call(x, state, lengths, resets)
        if resets is not None:
            call = call._replace(initial=self.initial_state(x.shape[0]))
        out, state = self.cell.recurrence.scan(*call.arguments, **call.options)
        return self.cell.read(out, x, lengths), state
