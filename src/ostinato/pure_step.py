"""A whole model's step as a pure function of its weights, of which a kernel or a file is made."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from .kernels import REFERENCE, backend
from .twin import twin


class _Step(nn.Module):
    """A model's `step` as `forward`, which is what `functional_call` calls."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.model.step(x, state)


def pure_step(model: nn.Module, names: Sequence[str]) -> Callable[..., tuple[Tensor, Any]]:
    """The step of a `Recurrent` as (x, state, *weights) -> (y, state).

    Args:
        names: of the parameters and buffers that are given as weights, in their order.
    """
    module = _Step(twin(model))  # other threads may use the model meanwhile

    def step(x: Tensor, state: Any, *weights: Tensor) -> tuple[Tensor, Any]:
        named = {f"model.{name}": w for name, w in zip(names, weights, strict=True)}
        with backend(REFERENCE):
            return functional_call(module, named, (x, state))

    return step
