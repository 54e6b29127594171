"""What our recorder writes down of a step leads to the plan that torch's `make_fx`, the oracle, leads to."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ostinato import tree
from ostinato.cells import cells
from ostinato.kernels import REFERENCE, Unsupported, backend, computed
from ostinato.kernels.lower.lower import lower
from ostinato.kernels.passes.listing import listing
from ostinato.kernels.passes.plan import plan
from ostinato.kernels.trace import tracer as tracing
from ostinato.kernels.trace.tracer import trace
from ostinato.layers import Pointwise, RecurrentDropout, Residual, Stack, Zoneout
from ostinato.models import LanguageModel
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell, Recurrent
from steps import CASES, STEPS, H, attention, step_of


def refuse(*args: Any) -> Any:
    raise RuntimeError("the tracer of the other name was to do it")


def text(step: Callable[..., Any], drive: Any, state: Any, weights: list[Tensor], gradients: bool = True) -> str:
    first = tree.map(lambda t: t[0], drive), tree.map(lambda t: t[0], state)
    return listing(plan(lower(trace(step, first[0], first[1], weights, gradients))))


def same(monkeypatch: pytest.MonkeyPatch, *call: Any) -> None:
    """Asserts that both tracers, each without the other, lead to one plan."""
    with monkeypatch.context() as only:
        only.setattr(tracing, "trace_by_make_fx", refuse)
        ours = text(*call)
    with monkeypatch.context() as only:
        only.setattr(tracing, "record", refuse)
        assert ours == text(*call)


def parts(cell: Cell[Any]) -> tuple[Any, Any, list[Tensor]]:
    drive = tree.at(computed(cell.drive(torch.randn(2, 1, 4))), 0)
    return tree.detach(drive), cell.initial_state(2), [w.detach() for w in cell.weights()]


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_cell(monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, str], gradients: bool) -> None:
    cell = cells[name](4, H, **options)
    same(monkeypatch, step_of(cell.recurrence), *parts(cell), gradients)


@pytest.mark.parametrize("wrapper", [Zoneout, RecurrentDropout])
@pytest.mark.parametrize("training", [True, False])
def test_every_wrapper(monkeypatch: pytest.MonkeyPatch, wrapper: Callable[..., Cell[Any]], training: bool) -> None:
    cell = wrapper(cells["lstm"](4, H), 0.3).train(training)
    same(monkeypatch, step_of(cell.recurrence), *parts(cell))


@pytest.mark.parametrize("step", STEPS, ids=lambda f: f.__name__)
def test_steps_of_ones_own(monkeypatch: pytest.MonkeyPatch, step: Callable[..., Any]) -> None:
    weights = [torch.randn(shape) for shape in STEPS[step]]
    same(
        monkeypatch, step, torch.randn(2, H), tuple(torch.randn(2, H) for _ in range(1 + (step is attention))), weights
    )


ODD: dict[str, Callable[[Tensor], Tensor]] = {
    "in place": lambda x: (2 * x).add_(1).mul_(x).tanh_(),
    "chunks": lambda x: torch.cat([*x.chunk(2, -1)[::-1], *x.split([1, 4], -1)], -1)[:, :H],
    "unbound": lambda x: torch.stack(x.unbind(-1), -1),
    "norms": lambda x: F.layer_norm(x, (H,)) + F.rms_norm(x, (H,)),
    "moments": lambda x: x - x.mean(-1, keepdim=True) + torch.var_mean(x, -1, keepdim=True)[0],
    "softmax": lambda x: x.softmax(-1) + x.log_softmax(-1),
    "logsumexp": lambda x: x - x.logsumexp(-1, keepdim=True),
    "largest": lambda x: x - x.amax(-1, keepdim=True),
    "where": lambda x: torch.where(x > 0, x, -0.5) + torch.where((x < 1) & ~(x < -1), 1.0, x),
    "activations": lambda x: F.gelu(x) + F.gelu(x, approximate="tanh") + F.silu(x) + F.leaky_relu(x) + F.softplus(x),
    "clamped": lambda x: x.clamp(-1, 1) + x.clamp(min=0.1) + F.relu(x),
    "filled": lambda x: x + torch.zeros(H) + torch.ones_like(x) * x.new_zeros(1, H) + torch.full((H,), 0.5),
    "numbers": lambda x: 1 - x / 3 + 2**2 * x**3 - 1 / (1 + x * x),
    "casts": lambda x: (x > 0).to(x.dtype) * x + (x < 0).float(),
    "padded": lambda x: F.pad(x, (1, 2))[:, 1 : H + 1] + F.pad(x[:, 1:], (0, 1)),
    "shapes": lambda x: x.view(-1, H, 1).transpose(1, 2).reshape(-1, H) + x[:, None, :].squeeze(1) + x[:, :1],
    "detached": lambda x: x * x.detach(),
    "without gradient": lambda x: torch.zeros_like(x),
    "einsum": lambda x: torch.einsum("bi,ij->bj", x, torch.ones(H, H)) * torch.einsum("bi,bi->b", x, x)[:, None],
    "stacked": lambda x: torch.stack([x, 2 * x], -1).softmax(-1).sum(-1) + torch.stack([x, x.tanh()]).amax(0),
    "norms of rows": lambda x: F.normalize(x, dim=-1) + x.max(-1, keepdim=True).values - x.argmax(-1, keepdim=True),
    "turned": lambda x: x.roll(1, -1) + x.flip(-1) + x[:, :1].repeat(1, H) + x.cumsum(-1),
    "waves": lambda x: x.sin() * x.cos() + torch.atan2(x, x.exp()) + F.elu(x) + x.sinh() + x.abs() ** 0.3,
    "matrices": lambda x: F.linear(x, torch.ones(H, H)) @ torch.zeros(H, H),
}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", ODD)
def test_odd_steps(monkeypatch: pytest.MonkeyPatch, name: str, gradients: bool) -> None:
    def step(d: Tensor, s: tuple[Tensor, Tensor], w: Tensor) -> Any:
        h = ODD[name](d + s[0]) * w.mT.tanh()[0]
        return h, (h, s[1])

    state = (torch.randn(2, H), torch.randn(2, H))
    same(monkeypatch, step, torch.randn(2, H), state, [torch.randn(H, H)], gradients)


@pytest.mark.parametrize("ids", [True, False])
def test_whole_models_that_stream(monkeypatch: pytest.MonkeyPatch, ids: bool) -> None:
    if ids:
        model: Recurrent[Any] = LanguageModel(50, 8, Stack(cells["lstm"](8, 12), cells["gru"](12, 8)), 8, tied=True)
    else:
        head = nn.Sequential(nn.GELU(), nn.Linear(H, 4), nn.LogSoftmax(-1))
        model = Stack(Residual(cells["lstm"](H, H), nn.LayerNorm(H)), Pointwise(head))
    model.eval()
    names = list(dict(model.named_parameters()))

    def step(x: Tensor, state: Any, *weights: Tensor) -> Any:
        with backend(REFERENCE):
            held = {f"inner.{name}": w for name, w in zip(names, weights, strict=True)}
            return torch.func.functional_call(One(model), held, (x, state))

    x = torch.zeros(2, dtype=torch.int64) if ids else torch.randn(2, H)
    same(monkeypatch, step, x, model.initial_state(2), [p.detach() for p in model.parameters()], False)


class One(nn.Module):
    """A model's `step` as `forward`."""

    def __init__(self, inner: Recurrent[Any]) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, state: Any) -> Any:
        return self.inner.step(x, state)


def test_tensors_made_of_numbers_reach_the_kernel() -> None:
    """Oracle: the reference loop. `make_fx` keeps such a tensor as data, which no kernel is given."""

    def update(d: Tensor, s: tuple[Tensor]) -> Any:
        h = (d * torch.tensor(0.5) + s[0] * torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])).tanh()
        return h, (h,)

    recurrence = Recurrence("numbers", update)
    for dtype in (torch.float32, torch.float64):
        drive, state = torch.randn(3, 4, H, dtype=dtype), (torch.randn(3, H, dtype=dtype),)
        with backend("numba"):
            out, _ = recurrence.scan(drive, state)
        want = torch.stack([step.out for step in recurrence.walk(drive, state)], dim=1)
        torch.testing.assert_close(out, want)


@pytest.mark.parametrize("gradients", [True, False])
def test_writing_into_places_of_no_axis_is_refused(gradients: bool) -> None:
    """A trace holds values, not memory: what is written there would be lost in silence."""

    def step(d: Tensor, s: tuple[Tensor]) -> Any:
        h = d + s[0]
        h.diagonal().mul_(2)
        return h, (h,)

    with pytest.raises(Unsupported, match="writes into a part of a tensor"):
        text(step, torch.randn(2, H), (torch.randn(2, H),), [], gradients)


def test_what_only_torch_follows_is_traced_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(d: Tensor, s: tuple[Tensor]) -> Any:
        h = d * torch.tensor(2).item() + s[0]
        return h, (h,)

    call = (step, torch.randn(2, H), (torch.randn(2, H),), [])
    found = text(*call)
    monkeypatch.setattr(tracing, "record", refuse)
    assert found == text(*call)
    monkeypatch.setattr(tracing, "trace_by_make_fx", refuse)
    with pytest.raises(Unsupported, match="its step cannot be traced"):
        text(*call)


FRESH = """
import sys, torch
from ostinato import tree
from ostinato.cells import cells
from ostinato.kernels import backend, computed
from ostinato.kernels.lower.lower import lower
from ostinato.kernels.trace.tracer import trace
for name in cells:
    cell = cells[name](4, 5)
    drive = tree.map(lambda t: t[0, 0], computed(cell.drive(torch.randn(2, 1, 4))))
    state = tree.map(lambda t: t[0], cell.initial_state(2))
    lower(trace(lambda *call: cell.recurrence.step(*call)[:2], drive, state, list(cell.weights())))
with backend("numba"):
    y, _ = cells["lstm"](4, 5)(torch.randn(2, 3, 4))
    y.sum().backward()
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


def test_a_kernel_is_there_without_the_compiler() -> None:
    """Importing torch's compiler takes longer than all else before the first kernel runs."""
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
