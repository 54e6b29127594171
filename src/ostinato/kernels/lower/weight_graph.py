"""What depends on the weights alone, and the gradients that leave the time loop: computed by torch, once a scan."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, fx
from torch.fx.node import map_arg


class WeightValues:
    """The values of traced nodes that have no batch axis; what is given is given, the rest follows from it."""

    def __init__(self, given: Iterable[tuple[fx.Node, Tensor]]) -> None:
        self.known: dict[fx.Node, Any] = dict(given)

    def __call__(self, x: Any) -> Any:
        if not isinstance(x, fx.Node):
            return x
        if x not in self.known:
            args, kwargs = map_arg((x.args, x.kwargs), self)
            self.known[x] = x.target(*args, **kwargs)  # type: ignore[operator]
        return self.known[x]
