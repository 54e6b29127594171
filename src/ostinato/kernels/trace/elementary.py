"""Elementary functions said in operations that rows have: right at infinities and signed zeros, and in range.

Where a square or a power would overflow or underflow and the value does not, numbers are scaled first: by powers of
two, which round nothing, and only where they are so large or small.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ELEMENTARY: dict[Any, Callable[..., Any]] = {}
_ATEN = torch.ops.aten


def _says(*operations: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(said: Callable[..., Any]) -> Callable[..., Any]:
        ELEMENTARY.update(dict.fromkeys(operations, said))
        return said

    return add


def scaled(size: Tensor) -> tuple[Tensor, Tensor]:
    """Powers of two: what numbers of at most this size are to be multiplied with before they are squared, and after."""
    half = math.log2(torch.finfo(size.dtype).max) / 2
    large, small = size > 2.0 ** (half - 12), size < 2.0 ** -(half - 36)
    far = 2.0 ** (half * 1.25 // 1)
    down, same, up = (torch.full_like(size, factor) for factor in (1 / far, 1.0, far))
    return torch.where(large, down, torch.where(small, up, same)), torch.where(
        large, up, torch.where(small, down, same)
    )


@_says(_ATEN.tan.default)
def _tan(x: Tensor) -> Tensor:
    return torch.sin(x) / torch.cos(x)


@_says(_ATEN.asin.default)
def _asin(x: Tensor) -> Tensor:
    return torch.atan(x / torch.sqrt((1 - x) * (1 + x)))


@_says(_ATEN.acos.default)
def _acos(x: Tensor) -> Tensor:
    return 2 * torch.atan(torch.sqrt((1 - x) / (1 + x)))


@_says(_ATEN.atan2.default)
def _atan2(y: Tensor, x: Tensor) -> Tensor:
    height, width = torch.abs(y), torch.abs(x)
    # Of two zeros or infinities the quotient is NaN.
    angle = torch.where((height == width) & (height != 1), math.pi / 4, torch.atan(height / width))
    angle = torch.where((y == 0) & (x == 0), 0.0, angle)
    left = torch.copysign(torch.ones_like(x), x) < 0
    return torch.copysign(torch.where(left, math.pi - angle, angle), y)


def _half_exp(x: Tensor) -> tuple[Tensor, Tensor]:
    """e^(|x| / 2) - 1 and with it e^(|x| / 2), whose square is infinite where a hyperbolic function of x is."""
    most = 0.48 * 2 * math.log(torch.finfo(x.dtype).max)
    less = torch.expm1(torch.clamp(torch.abs(x) * 0.5, max=most))
    return less, less + 1


@_says(_ATEN.sinh.default)
def _sinh(x: Tensor) -> Tensor:
    less, half = _half_exp(x)
    return torch.copysign((less + less / half) * 0.5 * (half + 1 / half), x)


@_says(_ATEN.cosh.default)
def _cosh(x: Tensor) -> Tensor:
    _, half = _half_exp(x)
    return half * 0.5 * half + 0.5 / half / half


@_says(_ATEN.asinh.default)
def _asinh(x: Tensor) -> Tensor:
    size = torch.abs(x)
    near = torch.log1p(size + size * size / (1 + torch.sqrt(size * size + 1)))
    return torch.copysign(torch.where(size > _large(x), torch.log(size) + math.log(2), near), x)


@_says(_ATEN.acosh.default)
def _acosh(x: Tensor) -> Tensor:
    over = x - 1
    near = torch.log1p(over + torch.sqrt(over) * torch.sqrt(x + 1))
    return torch.where(x > _large(x), torch.log(x) + math.log(2), near)


def _large(x: Tensor) -> float:
    """From here on 1 is lost beside the square."""
    return 2 / math.sqrt(torch.finfo(x.dtype).eps)


@_says(_ATEN.atanh.default)
def _atanh(x: Tensor) -> Tensor:
    size = torch.abs(x)
    return torch.copysign(0.5 * torch.log1p(2 * size / (1 - size)), x)


@_says(_ATEN.exp2.default)
def _exp2(x: Tensor) -> Tensor:
    return torch.pow(2.0, x)


@_says(_ATEN.hypot.default)
def _hypot(x: Tensor, y: Tensor) -> Tensor:
    x, y = torch.abs(x), torch.abs(y)
    before, after = scaled(torch.maximum(x, y))
    a, b = x * before, y * before
    infinite = (x == math.inf) | (y == math.inf)  # beside NaN too
    return torch.where(infinite, math.inf, torch.sqrt(a * a + b * b) * after)


@_says(_ATEN.ceil.default)
def _ceil(x: Tensor) -> Tensor:
    return -torch.floor(-x)


@_says(_ATEN.trunc.default)
def _trunc(x: Tensor) -> Tensor:
    return torch.copysign(torch.floor(torch.abs(x)), x)


@_says(_ATEN.fmax.default)
def _fmax(x: Tensor, y: Tensor) -> Tensor:
    return torch.where((x >= y) | (y != y), x, y)


@_says(_ATEN.fmin.default)
def _fmin(x: Tensor, y: Tensor) -> Tensor:
    return torch.where((x <= y) | (y != y), x, y)


@_says(_ATEN.remainder.Tensor, _ATEN.remainder.Scalar, _ATEN.remainder.Scalar_Tensor)
def _remainder(x: Any, y: Any) -> Tensor:
    """Of the sign of y; fmod is of the sign of x."""
    rest = _fmod(x, y)
    return torch.where(((rest < 0) & (y > 0)) | ((rest > 0) & (y < 0)), rest + y, rest)


def _fmod(x: Any, y: Any) -> Tensor:
    if not isinstance(x, Tensor):
        x = torch.full_like(y, x)
    return torch.fmod(x, y)


@_says(_ATEN.div.Tensor_mode, _ATEN.div.Scalar_mode)
def _rounded_quotient(x: Tensor, y: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is None:
        return torch.true_divide(x, y)
    return torch.trunc(torch.true_divide(x, y)) if rounding_mode == "trunc" else _floor_quotient(x, y)


@_says(_ATEN.floor_divide.default, _ATEN.floor_divide.Scalar)
def _floor_quotient(x: Tensor, y: Any) -> Tensor:
    """As Python has it: of x without its remainder, which is exact, and not of the rounded quotient."""
    quotient, rest = torch.true_divide(x, y), _fmod(x, y)
    whole = torch.true_divide(x - rest, y)
    whole = torch.where(((rest < 0) & (y > 0)) | ((rest > 0) & (y < 0)), whole - 1, whole)
    down = torch.floor(whole)
    found = torch.where(whole - down > 0.5, down + 1, down)
    found = torch.where(whole == 0, torch.copysign(torch.zeros_like(quotient), quotient), found)
    return torch.where(torch.eq(y, 0) if isinstance(y, Tensor) else torch.full_like(x, y) == 0, quotient, found)
