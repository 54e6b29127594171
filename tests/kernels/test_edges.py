"""Functions at their edges: infinities, NaN, signed zeros, kinks, ties, numbers whose squares overflow.

Oracle: torch's own functions and their gradients, in float64 and, where rounding decides, in float32.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_emit import compare
from torch import Tensor
from torch.nn import functional as F

from graph_machine import lowered
from ostinato.kernels.lower.lower import lower
from ostinato.kernels.scan.gradients import backward
from ostinato.kernels.scan.program import Options, together
from ostinato.kernels.scan.scan_kernel import ScanKernel
from ostinato.kernels.table import Unsupported
from ostinato.kernels.trace.elementary import ELEMENTARY
from ostinato.kernels.trace.rewrites import SYNONYMS
from ostinato.kernels.trace.tracer import trace
from ostinato.recurrence import Recurrence
from plain_machine import Plain

INF, NAN = math.inf, math.nan
EDGES = (-INF, -1e200, -800.0, -6.0, -3.0, -1.0, -0.5, -1e-200, -0.0, 0.0, 1e-200, 0.5, 1.0, 3.0, 6.0, 800.0, 1e200)
NUMBERS = torch.tensor([*EDGES, INF, NAN], dtype=torch.float64)
Unary, Binary = Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]


def step(word: Callable[..., Tensor]) -> Callable[..., Any]:
    def one(d: Tensor, s: Tensor) -> Any:
        out = word(d, s)
        return out, out

    return one


UNARY: dict[str, Unary] = {
    "sinh": torch.sinh, "cosh": torch.cosh, "asinh": torch.asinh, "acosh": torch.acosh, "atanh": torch.atanh,
    "erfc": torch.erfc, "log2": torch.log2, "log10": torch.log10, "exp2": torch.exp2, "tan": torch.tan,
    "softshrink": lambda x: F.softshrink(x, 0.5), "hardshrink": lambda x: F.hardshrink(x, 0.5),
    "elu": lambda x: F.elu(x, 0.5), "selu": F.selu, "celu": lambda x: F.celu(x, 0.5), "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid, "hardswish": F.hardswish, "relu6": F.relu6, "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "softsign": F.softsign, "softplus": F.softplus, "silu": F.silu,
    "logsigmoid": F.logsigmoid, "threshold": lambda x: F.threshold(x, 0.5, -0.2), "sign": torch.sign, "abs": torch.abs,
    "clamp": lambda x: x.clamp(-0.5, 0.5), "ceil": torch.ceil, "trunc": torch.trunc, "frac": torch.frac,
    "log1p": torch.log1p, "expm1": torch.expm1, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "atan": torch.atan,
    "asin": torch.asin, "acos": torch.acos, "times 0": lambda x: x * 0, "plus 0": lambda x: x + 0.0,
    "less -0": lambda x: x - (-0.0), "less 0": lambda x: x - 0.0, "through 7": lambda x: x / 7,
    "rsqrt": torch.rsqrt, "reciprocal": torch.reciprocal, "nan_to_num": torch.nan_to_num,
    **{f"power {p}": lambda x, p=p: x**p for p in (-4, -2.5, -2, -1.5, -1, -0.5, 0, 0.3, 0.5, 1.5, 2, 2.5, 3, 3.5, 5)},
}  # fmt: skip
BINARY: dict[str, Binary] = {
    "atan2": torch.atan2,
    "hypot": torch.hypot,
    "copysign": torch.copysign,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "pow": torch.pow,
    "fmod": torch.fmod,
    "remainder": torch.remainder,
    "logaddexp": torch.logaddexp,
    "div": torch.div,
    "floor division": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "whole division": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
}
ROWS: dict[str, Unary] = {
    "argmax": lambda x: x.argmax(-1, keepdim=True) + 0.0 * x.sum(-1, keepdim=True),
    "max": lambda x: x.max(-1, keepdim=True).values,
    "place of the smallest": lambda x: x.min(-1, keepdim=True).indices + 0.0 * x.sum(-1, keepdim=True),
    "softmax": lambda x: x.softmax(-1), "log_softmax": lambda x: x.log_softmax(-1),
    "logsumexp": lambda x: x.logsumexp(-1, keepdim=True), "norm": lambda x: x.norm(dim=-1, keepdim=True),
    "amax": lambda x: x.amax(-1, keepdim=True), "prod": lambda x: x.prod(-1, keepdim=True),
    "cumprod": lambda x: x.cumprod(-1), "cumsum": lambda x: x.cumsum(-1),
    "logcumsumexp": lambda x: x.logcumsumexp(-1), "std": lambda x: x.std(-1, keepdim=True),
}  # fmt: skip


def signed(word: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A word and, of what it gives, the signs: those of zeros too."""
    return lambda *x: torch.cat([y := word(*x), torch.copysign(torch.ones_like(y), y.detach().nan_to_num(1.0))], -1)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_a_number(name: str) -> None:
    # In torch the sign of a zero and the gradient at NaN of these depend on where in a row they stand.
    odd = name in ("softshrink", "relu6")
    word, numbers = (UNARY[name], NUMBERS[:-1]) if odd else (signed(UNARY[name]), NUMBERS)
    state = torch.zeros(2, word(numbers).numel(), dtype=torch.float64)
    lowered(step(lambda d, s: word(d)), numbers.repeat(2, 1), state, [])


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_numbers(name: str) -> None:
    # Of far numbers torch's remainder is NaN.
    far = (NUMBERS.abs() == 1e200) | (NUMBERS.abs() == 1e-200)
    numbers = NUMBERS[~far] if name in ("fmod", "remainder", "floor division") else NUMBERS
    word, (x, y) = BINARY[name], torch.meshgrid(numbers, numbers, indexing="ij")
    lowered(step(signed(lambda d, s: word(d, s[:, : len(numbers)]))), x.clone(), torch.cat([y, y], -1), [])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_in_range_does_not_overflow(dtype: torch.dtype) -> None:
    """Oracle: the C library, in float64 or, beyond it, exact triangles."""
    large = math.log(torch.finfo(dtype).max) + 0.5
    triangle, power = torch.tensor([3.0, 4.0, 5.0], dtype=dtype), 100 if dtype is torch.float32 else 700
    for a, b, c in (triangle * 2.0**power, triangle, triangle * 2.0**-power):
        assert ELEMENTARY[torch.ops.aten.hypot.default](a, b) == c
        got = SYNONYMS[torch.ops.aten.std.correction](torch.stack([a - b, b - a]), 0, correction=0)
        torch.testing.assert_close(got, b - a, rtol=1e-6, atol=0)
    x = torch.tensor([-large, large, 1e-3], dtype=dtype)
    for name, oracle in (("sinh", math.sinh), ("cosh", math.cosh)):
        got = ELEMENTARY[getattr(torch.ops.aten, name).default](x)
        want = torch.tensor([oracle(number) for number in x.tolist()], dtype=torch.float64)
        torch.testing.assert_close(got.double(), want, rtol=1e-6 if dtype is torch.float32 else 1e-14, atol=0)


CLOCKS: dict[str, Unary] = {
    "sevenths": lambda s: ((s / 7).floor() == s / 7).to(s.dtype),
    "tenths": lambda s: torch.floor(s / 10 / 0.1),
    "of a small number": lambda s: 0 * s / 1e-30,
    "remainder": lambda s: s % 7 + torch.fmod(s, -3) - 5 % (s.detach() + 1),
    "floor division": lambda s: s.detach() // 3 + (s.detach() + 0.5) // 0.1 + 0 * s,
    "mean": lambda s: (s.repeat(1, 7).mean(-1, keepdim=True) * 3).floor() + 0 * s,
    "powers of two": lambda s: (torch.log2(torch.exp2(s)) == s).to(s.dtype),
    "powers of ten": lambda s: torch.log10((10.0 ** (s % 8)).round()).floor(),
    "pythagoras": lambda s: torch.floor(torch.hypot(5 * (s + 1), 12 * (s + 1))),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_a_clock_loses_no_tick(name: str) -> None:
    """What is rounded down or compared must be rounded as torch rounds it."""
    tick = CLOCKS[name]

    def count(d: Tensor, s: Tensor) -> Any:
        return tick(s) + 0 * d, s + 1

    compare(count, torch.zeros(2, 60, 1, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64), [], Plain(1))
    wide = torch.arange(5.0, dtype=torch.float64).repeat(2, 1)
    if name != "mean":
        compare(count, torch.zeros(2, 60, 5, dtype=torch.float64), wide, [], Plain(4))


ROW_KINDS = ("ties", "NaN", "infinite", "-infinite", "zeros", "large", "small")
# Torch's own gradient of these is NaN at infinities, also where the value has one.
BOUNDED = ("prod", "cumprod", "logcumsumexp")
CASES = [(name, n) for name in ROWS for n in ROW_KINDS if name not in BOUNDED or not n.endswith(("infinite", "large"))]


@pytest.mark.parametrize(("name", "numbers"), CASES)
def test_functions_of_a_row(name: str, numbers: str) -> None:
    x = {
        "ties": [1.0, 3.0, -2.0, 3.0, 0.5], "NaN": [1.0, NAN, 2.0, NAN, -INF], "infinite": [1.0, INF, 0.0, INF, 2.0],
        "-infinite": [-INF] * 5, "zeros": [0.0, 2.0, -0.0, 3.0, 1.0], "large": [1e200, -1e200, 3e200, 1.0, 2.0],
        "small": [1e-200, -1e-200, 3e-200, 0.0, 2e-200],
    }[numbers]  # fmt: skip
    word = ROWS[name]
    lowered(step(lambda d, s: word(d) + 0.0 * s), torch.tensor([x, x[::-1]]).double(), torch.zeros(2, 5).double(), [])


@pytest.mark.parametrize("size", [33, 100])
@pytest.mark.parametrize("name", ["cumsum", "logcumsumexp", "flip"])
def test_long_rows(name: str, size: int) -> None:
    torch.manual_seed(0)
    word: Unary = (lambda x: x.flip(-1)) if name == "flip" else ROWS[name]
    x, s = torch.randn(2, size, dtype=torch.float64), torch.randn(2, size, dtype=torch.float64)
    lowered(step(lambda d, s: word(d) * s), x, s, [])


def test_places_chosen_by_a_list() -> None:
    torch.manual_seed(0)
    x, s = torch.randn(2, 6, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    lowered(step(lambda d, s: d[:, [5, 0, 1, -1, 1, 2]] * s + s[..., [3]]), x, s, [])


def overwritten(d: Tensor, s: Tensor) -> Tensor:
    n = d * s
    n[:, :2] = s[:, 1:3] ** 2
    n[:, 4] *= s[:, 5]
    n[:, ::2] = n[:, 1::2] + n[:, :1]
    return n * n.view(-1, 3, 2).flip(1).flatten(1)


def filled(d: Tensor, s: Tensor) -> Tensor:
    n = torch.zeros_like(d)
    n[:, 1:3] = d[:, :2]
    n[..., 3] = 2.0
    n[:, 4:].copy_(s[:, :2])
    n[:, 0].fill_(3.0)
    n.view(-1, 2, 3)[:, :, 1].mul_(s[:, :2])
    return n


def turned(d: Tensor, s: Tensor) -> Tensor:
    n = (d + s).view(-1, 2, 3).transpose(1, 2)
    n[:, 1] = s[:, :2] * d[:, 3:5]
    return n.reshape(-1, 6) * s


def augmented(d: Tensor, s: Tensor) -> Tensor:
    n = d.view(-1, 1, 2, 3) * s.view(-1, 1, 2, 3)
    n[:, :, :, 1:] += 0.5 * s[:, :1, None, None]
    n[:, 0, 1] *= d[:, :3]
    n[:, 0, :, 2:] -= d[:, :2, None]
    return n.reshape(-1, 6) * s


@pytest.mark.parametrize("word", [overwritten, filled, turned, augmented])
def test_parts_written_in_place(word: Binary) -> None:
    torch.manual_seed(0)
    x, s = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    lowered(step(word), x, s, [])


def test_parts_of_weights_written_in_place() -> None:
    torch.manual_seed(0)

    def kept_below(d: Tensor, s: Tensor, w: Tensor) -> Any:
        lower = w * 1
        doubled = lower * 2
        lower[0] = 0.0
        out = d + s @ lower + s @ doubled
        return out, out

    x, s = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    lowered(kept_below, x, s, [torch.randn(6, 6, dtype=torch.float64)])


def test_weights_of_truths_and_whole_numbers() -> None:
    """Oracle: the reference walk and autograd."""
    torch.manual_seed(0)

    def masked(d: Tensor, s: Tensor, m: Tensor, c: Tensor) -> Tensor:
        return (torch.where(m, d, s) * c + s * m + d.masked_fill(~m, 0.5)).tanh()

    recurrence = Recurrence("masked", lambda g, s: (g, g), masked)
    weights = [torch.tensor([True, False, True, True]), torch.arange(4)]
    x, start = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True), torch.randn(2, 4, dtype=torch.float64)
    out = torch.stack([w.out for w in recurrence.walk(x, start, *weights)], 1)
    (want,) = torch.autograd.grad(out.sum(), x)
    kernel, rows = ScanKernel(recurrence, x[0, 0].detach(), start[0], weights, Plain(4)), [x.detach()]
    ((got, _, kept),) = together(Plain(4), [kernel.forward(rows, [start], weights, Options(), True)])
    cots = [torch.ones_like(got), [torch.zeros_like(start)]]
    (groups,) = together(Plain(4), [backward(kernel, rows, [start], weights, Options(), kept, *cots)])
    torch.testing.assert_close(got, out.detach())
    torch.testing.assert_close(groups[0][0], want)


def test_an_output_of_another_dtype_is_refused() -> None:
    row = torch.zeros(4, dtype=torch.float64)
    with pytest.raises(Unsupported, match="its output is float32 in a step of float64"):
        lower(trace(lambda d, s: ((d > 0).sum(-1, keepdim=True) * 0.1, s), row, row, []))
