"""Steps of unusual shapes, and steps that no kernel computes. Oracle: the reference walk in float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_emit import B, T, compare, ragged
from torch import Tensor
from torch.nn import functional as F

from ostinato.kernels import Unsupported
from ostinato.kernels.lower.lower import lower
from ostinato.kernels.trace.tracer import trace
from plain_machine import Plain
from steps import STEPS, H, attention

Step = Callable[..., Any]
STRANGE: dict[str, tuple[Step, int, tuple[int, ...], list[tuple[int, ...]]]] = {}  # widths: drive, state


def strange(drive: int, state: tuple[int, ...], *weights: tuple[int, ...]) -> Callable[[Step], Step]:
    def add(step: Step) -> Step:
        STRANGE[step.__name__] = step, drive, state, list(weights)
        return step

    return add


@strange(5, (2, 7, 5), (5, 2), (7, 7), (2, 7))
def leaves_of_other_widths(d: Tensor, s: Any, w: Tensor, v: Tensor, u: Tensor) -> Any:
    a, b, c = s
    h = (d + a @ w.T + 0.5 * c).tanh()
    return h, ((b @ u.T).tanh() + 0.1 * a, (b @ v).sigmoid() * b, h)


@strange(5, (5, 5), (12, 5))
def output_wider_than_state(d: Tensor, s: Any, w: Tensor) -> Any:
    h = (d + s[0]).tanh()
    return torch.cat([h, s[1]], -1).softmax(-1) @ F.pad(w.T, (0, 0, 5, 0)), (s[1], h)


@strange(5, (5, 5))
def one_tensor_thrice(d: Tensor, s: Any) -> Any:
    h = (d + s[0] * s[1]).tanh()
    return h, (h, h)


@strange(5, (5, 5), (5, 5))
def one_product_twice(d: Tensor, s: Any, w: Tensor) -> Any:
    h = (s[0] + d) @ w
    return d, (h, h)


@strange(1, (1, 1), (1, 2), (1,))
def all_one_wide(d: Tensor, s: Any, w: Tensor, g: Tensor) -> Any:
    h = (d + torch.cat(s, -1) @ w.T).softmax(-1) + F.layer_norm(d, (1,), g) + (d - s[0]).amax(-1, keepdim=True)
    return h, (h.tanh(), d * s[0])


@strange(5, (1,))
def a_state_of_one(d: Tensor, s: Any) -> Any:
    a = (d * s[0]).softmax(-1)
    return a, ((a * d).sum(-1, keepdim=True),)


@strange(4, (12,), (4, 12))
def a_line_of_delays(d: Tensor, s: Any, w: Tensor) -> Any:
    m = torch.cat([(d + s[0] @ w.T).tanh(), s[0][..., :-4]], -1)
    return m[..., -4:], (m,)


@strange(5, (5, 5, 5))
def leaves_change_places(d: Tensor, s: Any) -> Any:
    return s[0], (s[1], s[2], 0.5 * s[0] + d)


@pytest.mark.parametrize("kind", ["whole", "lengths and resets"])
@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("name", STRANGE)
def test_unusual_shapes(name: str, lanes: int, kind: str) -> None:
    torch.manual_seed(0)
    step, width, states, shapes = STRANGE[name]
    drive = torch.randn(B, T, width, dtype=torch.float64)
    state = tuple(torch.randn(B, size, dtype=torch.float64) for size in states)
    weights = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    compare(step, drive, state, weights, Plain(lanes), **ragged(kind))


@pytest.mark.parametrize("step", STEPS, ids=lambda f: f.__name__)
def test_no_loop_is_empty(step: Step) -> None:
    """With one number a vector no loop needs a mask, and one that stores nothing would have no body."""
    torch.manual_seed(0)
    weights = [torch.randn(shape, dtype=torch.float64) for shape in STEPS[step]]
    state = tuple(torch.randn(B, H, dtype=torch.float64) for _ in range(2 if step is attention else 1))
    compare(step, torch.randn(B, T, H, dtype=torch.float64), state, weights, Plain(lanes=1))


REFUSED: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], str]] = {
    "a weight that drops": (lambda d, h, w: d + h @ F.dropout(w, 0.5), "draws random numbers"),
    "noise beside the rows": (lambda d, h, w: d + h + torch.randn(H), "draws random numbers"),
    "noise in the rows": (lambda d, h, w: d + h + torch.rand_like(d), "draws random numbers"),
    "whole numbers": (lambda d, h, w: d.long() * 0.5 + h, "float32 becomes int64"),
    "half precision": (lambda d, h, w: d.half().float() + h, "float32 becomes float16"),
    "bits": (lambda d, h, w: ((d > 0).long() & (h > 0).long()) * 0.5 + h, "truths are read"),
    "a mean over rows": (lambda d, h, w: d - h.mean(0), "rows of one batch meet"),
    "a mean over all": (lambda d, h, w: d - h.mean(), "rows of one batch meet"),
    "a product of rows": (lambda d, h, w: d - h @ (d.T @ d), "rows of one batch do not see each other"),
    "a norm over rows": (lambda d, h, w: F.layer_norm(d + h, d.shape), "rows of one batch meet"),
    "a state that grows": (lambda d, h, w: torch.cat([d, h], -1), r"\[5\] before the step and float32 \[10\]"),
    "a state of truths": (lambda d, h, w: d > h, "float32 .* before the step and bool"),
}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_kernel_would_compute_rightly_is_refused(name: str, gradients: bool) -> None:
    new, sentence = REFUSED[name]

    def step(d: Tensor, s: tuple[Tensor, ...], w: Tensor) -> Any:
        h = new(d, s[0], w)
        return d, (h,)

    row = torch.zeros(H)
    with pytest.raises(Unsupported, match=sentence):
        lower(trace(step, row, (row,), [torch.zeros(H, H)], gradients))


def test_a_solver_of_weights_is_left_to_torch() -> None:
    def cayley(d: Tensor, s: tuple[Tensor, ...], w: Tensor) -> Any:
        """A recurrent matrix that keeps lengths."""
        skew, one = w - w.T, torch.eye(H, dtype=w.dtype)
        h = (d + s[0] @ torch.linalg.solve(one + skew, one - skew)).tanh()
        return h, (h,)

    torch.manual_seed(0)
    drive, state, w = (torch.randn(shape, dtype=torch.float64) for shape in ((B, T, H), (B, H), (H, H)))
    compare(cayley, drive, (state,), [w], Plain(lanes=4), **ragged("whole"))
