"""A module that looks at one time step only, as a layer."""

from torch import Tensor, nn

from .. import tree
from ..recurrent import Recurrent


class Pointwise(Recurrent[tuple[()]]):
    """x [B, T, ...] -> module(x) [B, T, ...], zero past each row's length. The state is ().

    Args:
        module: Embedding, Linear, LayerNorm, an activation, or a Sequential of such. It must treat time steps and
            rows apart: batch normalisation and convolutions over time do not.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def initial_state(self, batch: int) -> tuple[()]:
        return ()

    def scan(
        self, x: Tensor, state: tuple[()], lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, tuple[()]]:
        return tree.masked(self.module(x), lengths), ()
