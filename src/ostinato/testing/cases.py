"""What a law is tried on, and how two results are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import tree
from ..recurrent import Layer

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
STEPS = 7


@dataclass(frozen=True)
class Case:
    """What a law is tried on: a part in evaluation mode, an input of 4 rows and 7 steps, a state that fits the part."""

    part: Layer
    x: Tensor  # [4, 7, D] floating, or ids [4, 7] int64
    state: Any  # reached by reading, not the initial one
    ids: int | None  # how many ids there are
    dtype: torch.dtype


def case(make: Callable[[], Layer], d_in: int, *, ids: int | None = None, dtype=torch.float64, seed: int = 0) -> Case:
    """Builds a part and an input; the same seed gives the same. `ids`: x holds token ids below that number."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        part = make().to(dtype).eval()
        x, before = sequence(STEPS, d_in, ids, dtype), sequence(3, d_in, ids, dtype)
        return Case(part, x, tree.detach(part(before)[1]), ids, dtype)


def sequence(steps: int, d_in: int, ids: int | None, dtype: torch.dtype) -> Tensor:
    """Four rows without zeros, which would hide multiplicative terms."""
    if ids is not None:
        return torch.randint(ids, (4, steps))
    x = torch.randn(4, steps, d_in, dtype=torch.float64)
    return (x + 0.1 * x.sign()).to(dtype)


def gradients(part: Layer, x: Tensor, state: Any, **options: Any) -> tuple[Any, list[Tensor]]:
    """((y, state after), the gradients of a sum weighted by no symmetric pattern, w.r.t. x, state and parameters)."""
    x = x.detach().clone(memory_format=torch.preserve_format)
    state = tree.map(lambda leaf: leaf.detach().clone(), state)
    wanted = [t.requires_grad_() for t in (x, *tree.leaves(state)) if t.is_floating_point()]
    wanted += list(part.parameters())
    y, after = part(x, state, **options)
    outs = [t for t in (y, *tree.leaves(after)) if t.is_floating_point() and t.requires_grad]
    loss = sum((t * torch.linspace(0.5, 1.5, t.numel(), dtype=t.dtype).view_as(t).sin()).sum() for t in outs)
    assert isinstance(loss, Tensor), "nothing that the part gives depends on x, state or parameters"
    return (y, after), list(torch.autograd.grad(loss, wanted, materialize_grads=True))


def distance(got: Any, want: Any) -> float:
    """The largest difference, relative to the largest value wanted (at least 1), over the leaves; NaN is infinite."""
    worst = 0.0
    for g, w in zip(tree.leaves(got), tree.leaves(want), strict=True):
        assert g.shape == w.shape, f"shape {list(g.shape)} where {list(w.shape)} was expected"
        if w.numel():
            gap, scale = (g.detach().double() - w.detach().double()).abs().max(), w.detach().abs().max().double()
            worst = max(worst, (gap / scale.clamp(min=1)).nan_to_num(nan=float("inf")).item())
    return worst


def same(case: Case, law: str, **pairs: tuple[Any, Any]) -> None:
    for what, (got, want) in pairs.items():
        error = distance(got, want)
        assert error <= TOLERANCE[case.dtype], (
            f"law {law!r} is broken by {type(case.part).__name__}: {what} differs by {error:.1e}, "
            f"more than {TOLERANCE[case.dtype]:.0e}"
        )
