"""What a law is tried on, how two results are compared, and how a broken law is told."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from .. import tree
from ..recurrent import Layer, Recurrent

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
STEPS = 7


@dataclass(frozen=True)
class Case:
    """What a law is tried on: a part in evaluation mode, and an input of 4 rows and 7 steps."""

    part: Layer
    x: Tensor  # [4, 7, D] floating, or ids [4, 7] int64
    before: Tensor  # [4, 3, D] or ids [4, 3]: what `state` has read
    ids: int | None  # how many ids there are
    dtype: torch.dtype

    # Not before a law asks for it: a part that cannot read at all breaks a law, and that law is named.
    @functools.cached_property
    def state(self) -> Any:
        """A state that fits the part, reached by reading, not the initial one; every leaf [4, ...]."""
        with torch.no_grad():
            return tree.detach(self.part(self.before)[1])

    @property
    def streams(self) -> bool:
        """Whether the part reads in order, all through: no layer in it looks ahead."""
        return all(isinstance(part, Recurrent) for part in self.part.modules() if isinstance(part, Layer))


def case(make: Callable[[], Layer], d_in: int, *, ids: int | None = None, dtype=torch.float64, seed: int = 0) -> Case:
    """Builds a part and an input; the same seed gives the same. `ids`: x holds token ids below that number.

    Raises:
        TypeError: `make` builds no Layer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        part = make()
        if not isinstance(part, Layer):
            name = type(part).__name__
            raise TypeError(f"`make` must build a Layer, such as a Cell, and built {name}; try Pointwise({name}(...))")
        part = part.to(dtype).eval()
        return Case(part, sequence(STEPS, d_in, ids, dtype), sequence(3, d_in, ids, dtype), ids, dtype)


class LawBroken(AssertionError):
    """The message names the law, the part and what is wrong."""


def broken(case: Case, law: str, what: str) -> NoReturn:
    raise LawBroken(f"law {law!r} is broken by {type(case.part).__name__}: {what}")


def law(name: str) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Decorator: an error on the way, the part's own or torch's, is a broken law too, and is told with its name."""

    def named(check: Callable[[Case], None]) -> Callable[[Case], None]:
        @functools.wraps(check)
        def tried(case: Case) -> None:
            try:
                check(case)
            except LawBroken:
                raise
            except Exception as error:
                told = f"law {name!r} is broken by {type(case.part).__name__}: {type(error).__name__}: {error}"
                raise LawBroken(told) from error

        return tried

    return named


def sequence(steps: int, d_in: int, ids: int | None, dtype: torch.dtype) -> Tensor:
    """Four rows without zeros, which would hide multiplicative terms."""
    if ids is not None:
        return torch.randint(ids, (4, steps))
    x = torch.randn(4, steps, d_in, dtype=torch.float64)
    return (x + 0.1 * x.sign()).to(dtype)


def gradients(part: Layer, x: Tensor, state: Any, **options: Any) -> tuple[Any, dict[str, Tensor]]:
    """((y, state after), the gradients of `weighted`, by name: w.r.t. x, state and parameters)."""
    x = x.detach().clone(memory_format=torch.preserve_format)
    state = tree.map(lambda leaf: leaf.detach().clone(), state)
    wanted = variables(part, x, state)
    for t in wanted.values():
        t.requires_grad_()
    result = part(x, state, **options)
    loss = weighted(result)
    if not (wanted and isinstance(loss, Tensor) and loss.requires_grad):
        return result, {name: torch.zeros_like(t) for name, t in wanted.items()}
    slopes = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
    return result, dict(zip(wanted, slopes, strict=True))


def variables(part: Layer, x: Tensor, state: Any) -> dict[str, Tensor]:
    """What a derivative is taken with respect to, by name: x, the state's leaves, and the parameters that learn."""
    given = {"x": x, **{f"leaf {i} of the state": leaf for i, leaf in enumerate(tree.leaves(state))}}
    floating = {name: t for name, t in given.items() if t.is_floating_point()}
    return floating | {name: p for name, p in part.named_parameters() if p.requires_grad}


def weighted(result: Any) -> Tensor | int:
    """The sum of y and of the state after it, weighted by no symmetric pattern."""
    outs = [t for t in tree.leaves(result) if t.is_floating_point()]
    return sum((t * torch.linspace(0.5, 1.5, t.numel(), dtype=t.dtype).view_as(t).sin()).sum() for t in outs)


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
        try:
            error = distance(got, want)
        except (AssertionError, ValueError) as shape:  # another shape, or another number of leaves
            broken(case, law, f"{what} has {shape}")
        if not error <= TOLERANCE[case.dtype]:
            broken(case, law, f"{what} differs by {error:.1e}, more than {TOLERANCE[case.dtype]:.0e}")
