"""A step and its gradients as a graph of rows. Oracle: the step itself and autograd, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from graph_machine import GraphMachine
from ostinato import tree
from ostinato.kernels.lower.lower import lower, order_of_leaf
from ostinato.kernels.lower.weight_graph import WeightValues
from ostinato.kernels.trace.tracer import trace

B = 3


def flat(t: Tensor, node: Any) -> np.ndarray:
    """[B, ...] as the leaf of a graph has it."""
    return t.detach().permute(0, *order_of_leaf(node), *[i for i, s in enumerate(t.shape) if i and s == 1]).numpy()


def check(step: Callable[..., Any], drive: Any, state: Any, weights: list[Tensor]) -> None:
    """One step of trees [B, ...], and the gradients of all it is given."""
    traced = trace(step, tree.map(lambda d: d[0], drive), tree.map(lambda s: s[0], state), weights)
    reading = lower(traced)
    given = [*tree.leaves(drive), *tree.leaves(state), *weights]
    for t in given:
        t.requires_grad_()
    out, new = step(drive, state, *weights)
    results = [out, *tree.leaves(new)]
    slopes = [torch.randn_like(t) for t in results]
    learns = [(t, s) for t, s in zip(results, slopes, strict=True) if t.requires_grad]
    ends, moved = zip(*learns, strict=True)
    wanted = torch.autograd.grad(ends, given, moved, materialize_grads=True)
    inputs = {("drive", i): flat(t, n) for i, (t, n) in enumerate(zip(tree.leaves(drive), traced.drive, strict=True))}
    inputs |= {("state", i): flat(t, n) for i, (t, n) in enumerate(zip(tree.leaves(state), traced.state, strict=True))}
    inputs |= {("cot", 0): flat(slopes[0], traced.out)}
    inputs |= {("dstate", i): flat(t, n) for i, (t, n) in enumerate(zip(slopes[1:], traced.new_state, strict=True))}
    machine = GraphMachine(
        reading, inputs, WeightValues(zip(traced.weights, [w.detach() for w in weights], strict=True))
    )
    rows = [reading.out, *reading.new_state, *reading.ddrive, *reading.dstate]
    theirs = [*results, *wanted[: len(given) - len(weights)]]
    likes = [traced.out, *traced.new_state, *traced.drive, *traced.state]
    for number, (value, want, like) in enumerate(zip(rows, theirs, likes, strict=True)):
        got = torch.from_numpy(machine.row(value))
        want = torch.from_numpy(np.ascontiguousarray(flat(want, like)).reshape(B, -1))
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11, msg=lambda m, n=number: f"row {n}: {m}")
    for number, (x, w, want) in enumerate(zip(traced.dweights, weights, wanted[-len(weights) :], strict=False)):
        got = machine.gradient(x, w.detach())
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11, msg=lambda m, n=number: f"weight {n}: {m}")


def rand(*sizes: int) -> Tensor:
    return torch.randn(B, *sizes, dtype=torch.float64)


def weight(*sizes: int) -> Tensor:
    return torch.randn(*sizes, dtype=torch.float64) / 2


def delta(d: Any, s: Tensor) -> Any:
    q, k, v, a, b = d
    s = a[..., None, None].sigmoid() * s
    guess = (k.unsqueeze(-1) * s).sum(-2)
    s = s + k.unsqueeze(-1) * (b.sigmoid()[..., None] * (v - guess)).unsqueeze(-2)
    return (q.unsqueeze(-1) * s).sum(-2), s


def delta_by_einsum(d: Any, s: Tensor) -> Any:
    q, k, v, a, b = d
    s = s * torch.einsum("bh,bhk->bhk", a, torch.softmax(k, -1)).unsqueeze(-1)
    guess = torch.einsum("bhk,bhkv->bhv", k, s)
    s = s + torch.einsum("bhk,bhv,bh->bhkv", k, v - guess, b)
    return torch.einsum("bhk,bhkv->bhv", q, s).flatten(1), s


def selective(d: Any, h: Tensor, a: Tensor, skip: Tensor) -> Any:
    x, b, c, step = d
    step = F.softplus(step)
    h = torch.exp(step[..., None] * -a.exp()) * h + (step * x)[..., None] * b[:, None, :]
    return (h @ c.unsqueeze(-1)).squeeze(-1) + skip * x, h


def nonlinear(d: Any, s: Tensor, w: Tensor) -> Any:
    q, k, v, f = d
    z = torch.tanh(s @ w + k[..., :, None] * v[..., None, :])
    s = f[..., None, None] * s + (1 - f[..., None, None]) * z
    return (q[..., None, :] @ s).squeeze(-2), s


def nonlinear_by_head(d: Any, s: Tensor, w: Tensor) -> Any:
    return nonlinear(d, s, w)


def rotary(d: Tensor, s: Tensor, w: Tensor) -> Any:
    a, b = d.chunk(2, -1)
    d = torch.cat([a.cos() - b.sin(), b * w], -1) + torch.stack([a, s.chunk(2, -1)[1]], -1).flatten(-2)
    return d.transpose(1, 2).flip(-1), d.roll(1, 2) + s[..., ::2].repeat_interleave(2, -1)


def sideways(d: Tensor, s: Tensor, w: Tensor) -> Any:
    m = torch.matmul(d.reshape(-1, d.shape[-1]), w).view(s.shape)
    out = F.layer_norm(m + s, s.shape[-1:]).logsumexp(1)
    return out, torch.where(m > s.amax(-1, keepdim=True), m, s.mT @ s @ s.mT @ m - s.mean((1, 2), keepdim=True))


STEPS: dict[str, tuple[Any, Callable[[], tuple[Any, Any, list[Tensor]]]]] = {
    "delta": (delta, lambda: ((rand(2, 5), rand(2, 5), rand(2, 4), rand(2), rand(2)), rand(2, 5, 4), [])),
    "delta, long": (delta, lambda: ((rand(3, 40), rand(3, 40), rand(3, 33), rand(3), rand(3)), rand(3, 40, 33), [])),
    "einsum": (delta_by_einsum, lambda: ((rand(3, 4), rand(3, 4), rand(3, 7), rand(3), rand(3)), rand(3, 4, 7), [])),
    "one head": (delta_by_einsum, lambda: ((rand(1, 4), rand(1, 4), rand(1, 7), rand(1), rand(1)), rand(1, 4, 7), [])),
    "selective": (
        selective,
        lambda: ((rand(12), rand(4), rand(4), rand(12)), rand(12, 4), [weight(12, 4), weight(12)]),
    ),
    "selective, N = 1": (
        selective,
        lambda: ((rand(12), rand(1), rand(1), rand(12)), rand(12, 1), [weight(12, 1), weight(12)]),
    ),
    "nonlinear": (nonlinear, lambda: ((rand(3, 5), rand(3, 5), rand(3, 4), rand(3)), rand(3, 5, 4), [weight(4, 4)])),
    "nonlinear by head": (
        nonlinear_by_head,
        lambda: ((rand(3, 5), rand(3, 5), rand(3, 4), rand(3)), rand(3, 5, 4), [weight(3, 4, 4)]),
    ),
    "rotary": (rotary, lambda: (rand(5, 8), rand(5, 8), [weight(4)])),
    "sideways": (sideways, lambda: (rand(4, 6), rand(4, 4), [weight(6, 4)])),
    "64 heads": (lambda d, s: (F.softmax(d * s, -1), d.view(B, -1).tanh().view_as(s) if len(d) == B else d.tanh()),
                 lambda: (rand(64, 5), rand(64, 5), [])),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_values_of_several_axes(name: str) -> None:
    torch.manual_seed(0)
    step, make = STEPS[name]
    check(step, *make())
