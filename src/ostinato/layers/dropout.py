"""Dropout between layers: a fresh mask for each element, or one for a whole sequence."""

from torch import Tensor, nn
from torch.nn import functional as F

from .. import tree
from ..kernels.chance import dropout
from ..recurrent import Recurrent


class Dropout(Recurrent[tuple[()]]):
    """While training, each element of x [B, T, D] is zero with chance p, else x / (1 - p) (Srivastava et al. 2014).

    In evaluation mode y = x. The state is ().

    Raises:
        ValueError: p lies outside [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p is the chance to drop, from 0 up to but not including 1, and is {p}")
        self.p = p

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def scan(
        self, x: Tensor, state: tuple[()], lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, tuple[()]]:
        return dropout(x, self.p, lengths) if self.training else tree.masked(x, lengths), ()


class Drop(nn.Dropout):
    """torch's module for a plain tensor of any shape, drawn as `Dropout` draws."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p) if self.training else input


class LockedDropout(Dropout):
    """While training, a feature of a row is zero at all time steps, or at none (Gal & Ghahramani 2016).

    One mask a row and feature, drawn anew by each call: over truncated BPTT each chunk has its own, a reset inside
    a chunk keeps it, and single steps in training mode are dropped independently. In evaluation mode y = x.
    The state is ().

    Raises:
        ValueError: p lies outside [0, 1).
    """

    def scan(
        self, x: Tensor, state: tuple[()], lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, tuple[()]]:
        mask = F.dropout(x.new_ones(x.shape[0], 1, *x.shape[2:]), self.p, self.training)
        return tree.masked(x * mask, lengths), ()
