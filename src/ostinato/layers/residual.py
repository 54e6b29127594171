"""A shortcut around a part (He et al. 2016), pre-norm (Xiong et al. 2020): y = x + part(norm(x))."""

from typing import Any

from torch import Tensor, nn

from .. import tree
from ..recurrent import Layer, Recurrent


class Residual(Recurrent[Any]):
    """x [B, T, D] -> x + part(norm(x)) [B, T, D]. The state is the part's.

    Args:
        part: a layer that keeps the width D.
        norm: a module that looks at one time step only, such as `nn.LayerNorm(D)`; None: x as it is.

    Raises:
        ValueError: the part gives another shape than it gets.
    """

    def __init__(self, part: Layer, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.part = part
        self.norm = norm

    def initial_state(self, batch: int) -> Any:
        return self.part.initial_state(batch)

    def scan(self, x: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None) -> tuple[Tensor, Any]:
        y, state = self.part.scan(x if self.norm is None else self.norm(x), state, lengths, resets)
        if y.shape != x.shape:
            raise ValueError(
                f"Residual adds x {list(x.shape)} to what {type(self.part).__name__} made of it, {list(y.shape)}; "
                "the part must keep the width"
            )
        return tree.masked(x + y, lengths), state
