"""The laws of derivatives: right, and of every kind that `torch.func` takes."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .. import kernels, tree
from .cases import STEPS, Case, broken, gradients, law, same, variables, weighted

# Central differences in float64: the step's own error is about 1e-12 of the third derivative, rounding about 1e-9.
NEAR = 1e-6


@law("gradients are right")
def law_gradients_are_right(case: Case) -> None:
    """autograd's derivative w.r.t. x, state and each parameter is that of central differences, on the reference.

    Along one random direction each, once plain and once with lengths and resets. In float64 only: elsewhere rounding
    hides the difference. A function with kinks (relu) has no derivative at one: what fails is tried from other states.
    """
    if case.dtype != torch.float64:
        return
    resets = torch.zeros(4, STEPS, dtype=torch.bool)
    resets[0, 3] = resets[2, 1] = True
    lengths = torch.tensor([7, 6, 4, 0])
    with kernels.backend(kernels.REFERENCE), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for options in ({}, {"lengths": lengths, "resets": resets}):
            wrong: dict[str, str] = {}
            for attempt, state in enumerate(_states(case)):
                now = _mismatches(case, state, options)
                wrong = {name: now[name] for name in (wrong if attempt else now) if name in now}
                if not wrong:
                    break
            for name, numbers in wrong.items():
                broken(case, "gradients are right", f"the derivative with respect to {name} {numbers}")


def _states(case: Case) -> Iterator[Any]:
    """The case's state; then others near it, none of whose numbers lies where it was."""
    yield case.state
    for _ in range(3):
        yield tree.map(lambda s: s + 1e-2 * torch.rand_like(s) if s.is_floating_point() else s, case.state)


def _mismatches(case: Case, state: Any, options: dict[str, Any]) -> dict[str, str]:
    """Both numbers, of each variable whose two derivatives differ."""
    _, slopes = gradients(case.part, case.x, state, **options)
    wrong = {}
    for name, u in variables(case.part, case.x, state).items():
        v = torch.randn_like(u)
        product = (slopes[name] * v).sum().item()
        numeric = [_difference(case, state, options, name, h * v) / (2 * h) for h in (1e-5, 1e-6)]
        gap, best = min((abs(product - n) / max(1.0, abs(n)), n) for n in numeric)
        if not gap <= NEAR:
            wrong[name] = f"is {product:.6g} by autograd and {best:.6g} by differences; look for detach() or .data"
    return wrong


@torch.no_grad()
def _difference(case: Case, state: Any, options: dict[str, Any], name: str, step: Tensor) -> float:
    """How much `weighted` grows from one step before a variable's value to one step after it."""
    ends = []
    for sign in (1, -1):
        given = variables(case.part, case.x, state)
        given[name] = given[name] + sign * step
        inputs = [given.pop("x", case.x)]
        leaves = [given.pop(f"leaf {i} of the state", leaf) for i, leaf in enumerate(tree.leaves(state))]
        inputs.append(tree.like(state, leaves))
        ends.append(weighted(torch.func.functional_call(case.part, given, tuple(inputs), options)))
    return float(ends[0] - ends[1])


@law("torch.func")
def law_torch_func(case: Case) -> None:
    """vmap is a loop, jvp is jacrev times the vector, the gradient has a derivative: on the reference."""
    state = tree.select(case.state, torch.arange(2))
    params = {name: p.detach() for name, p in case.part.named_parameters()}
    name, u = ("x", case.x[:2, :3]) if case.ids is None else next(iter(params.items()))

    def f(u: Tensor) -> Tensor:
        x, rest = (u, params) if name == "x" else (case.x[:2, :3], {**params, name: u})
        return torch.func.functional_call(case.part, rest, (x, state))[0]

    def energy(u: Tensor) -> Tensor:
        return f(u).square().sum()

    with kernels.backend(kernels.REFERENCE), warnings.catch_warnings():
        # torch's own table of forward derivatives is still made with torch.jit.
        warnings.filterwarnings("ignore", message="`torch.jit.script`", category=DeprecationWarning)
        v = torch.linspace(-1, 1, u.numel(), dtype=u.dtype).view_as(u)
        many = torch.stack([u, v, u + v])
        same(case, "vmap is a loop", y=(torch.func.vmap(f)(many), torch.stack([f(m) for m in many])))
        y, slope, *_ = torch.func.jvp(f, (u,), (v,))
        product = (torch.func.jacrev(f)(u).flatten(y.ndim) @ v.flatten()).view_as(slope)
        same(case, "jvp is jacrev times v", y=(y, f(u)), slope=(slope, product))
        leaf = u.clone().requires_grad_()
        (first,) = torch.autograd.grad(energy(leaf), leaf, create_graph=True)
        second = torch.autograd.grad((first * v).sum(), leaf, materialize_grads=True)[0]
        _, want, *_ = torch.func.jvp(torch.func.grad(energy), (u,), (v,))
        same(case, "double backward", gradient=(second, want))
