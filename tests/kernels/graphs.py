"""Models, and what the graphs of their compiled and exported forms hold; some tests share them."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from ostinato import tree
from ostinato.cells import GRU, LSTM, MGU, Elman
from ostinato.layers import Bidirectional, LearnedState, Pointwise, RecurrentDropout, Residual, Stack, Zoneout
from ostinato.recurrence import Affine, Recurrence
from ostinato.recurrent import Cell

X = torch.randn(3, 6, 4)
MARKS = {"lengths": torch.tensor([6, 0, 4]), "resets": torch.arange(18).view(3, 6).mul(5) % 7 == 0}


class Own(Cell[Tensor]):
    """A user's own cell, whose recurrence is made on the instance, and of which one weight moves nothing."""

    def __init__(self, leak: float) -> None:
        super().__init__()
        self.recurrence = Recurrence("own", lambda a, h: (a, leak * h + a.tanh()), lambda d, h, w, b, _: d + h @ w + b)
        self.w_in = nn.Linear(4, 5)
        self.w_rec, self.b = nn.Parameter(torch.randn(5, 5) / 3), nn.Parameter(torch.rand(5))

    def initial_state(self, batch: int) -> Tensor:
        return self.w_rec.new_ones(batch, 5)

    def drive(self, x: Tensor) -> Affine:
        return Affine(x, self.w_in.weight, None)

    def weights(self) -> tuple[Tensor, ...]:
        return self.w_rec, self.b, self.b.detach()


def deep() -> Stack:
    both = Bidirectional(LSTM(4, 4), Elman(4, 4))
    return Stack(GRU(4, 4), Residual(MGU(4, 4), nn.LayerNorm(4)), both, Pointwise(nn.Linear(8, 3)))


PARTS = {
    "deep": deep,
    "own": lambda: Own(0.5),
    "dropped": lambda: Zoneout(RecurrentDropout(Elman(4, 5), 0.2), 0.3),
    "learned": lambda: LearnedState(LSTM(4, 5)),
}


class Recorder:
    """A backend of torch.compile: AOT autograd, and the names of our operators in each of its graphs."""

    def __init__(self) -> None:
        self.graphs: list[list[str]] = []

    def __call__(self, module: Any, inputs: Any) -> Any:
        from torch._dynamo.backends.common import aot_autograd
        from torch._functorch._aot_autograd.utils import make_boxed_func

        def compiler(graph: Any, _: Any) -> Any:
            self.graphs.append(ours(graph.graph))
            return make_boxed_func(graph.forward)

        return aot_autograd(fw_compiler=compiler)(module, inputs)


def ours(graph: torch.fx.Graph) -> list[str]:
    found = re.findall(r"ostinato\.(\w+)", " ".join(str(node.target) for node in graph.nodes))
    return [name for name in found if name.startswith("scan")]


def everything(call: Any, part: nn.Module, x: Tensor, **options: Any) -> list[Tensor]:
    """Outputs, final state, and the gradients of x and all parameters."""
    torch.manual_seed(1)
    x = x.detach().clone().requires_grad_()
    y, state = call(x, None, **options)
    results = [y, *tree.leaves(state)]
    loss = torch.stack([(t * torch.linspace(1, 2, t.numel(), dtype=t.dtype).view_as(t)).sum() for t in results]).sum()
    gradients = torch.autograd.grad(loss, [x, *part.parameters()], allow_unused=True)
    return [*(t.detach() for t in results), *(torch.zeros(()) if g is None else g for g in gradients)]


def assert_the_same(got: list[Tensor], want: list[Tensor], tolerance: float = 2e-5) -> None:
    for number, (g, w) in enumerate(zip(got, want, strict=True)):
        assert g.shape == w.shape
        g, w = g.detach().double(), w.detach().double()
        gap = float((g - w).abs().max() / w.abs().max().clamp(min=1))
        assert gap <= tolerance, f"result {number} differs by {gap:.1e}"
