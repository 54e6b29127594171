"""What people write in a step, word by word: each is lowered and compiled, and equals torch with all its gradients.

Oracles: autograd on the step itself in float64, where a word is lowered; the reference walk in float64, where it is
compiled. A word is a function of the drive x, the state h, a matrix w and a vector v.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_emit import compare
from test_lower import B
from torch import Tensor
from torch.nn import functional as F

from graph_machine import lowered
from ostinato.kernels import backend
from ostinato.recurrence import Recurrence
from plain_machine import Plain

H = 6
Word = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Table = dict[str, Word]


def heads(x: Tensor) -> Tensor:
    return x.view(-1, 2, 3)


def own_matrices(heads: Tensor, w: Tensor) -> Tensor:
    return torch.einsum("bhd,hde->bhe", heads, w).reshape(-1, H)


def attention(queries: Tensor, keys: Tensor) -> Tensor:
    return (queries @ keys.mT).softmax(-1) @ keys


POINTWISE: Table = {
    "elu": lambda x, h, w, v: F.elu(x, 0.3) + h,
    "celu": lambda x, h, w, v: F.celu(x, 0.7) + h,
    "selu": lambda x, h, w, v: F.selu(x) + h,
    "hardtanh": lambda x, h, w, v: F.hardtanh(x + h, -0.5, 0.5),
    "clamp": lambda x, h, w, v: (x + h).clamp(-0.5, 0.5) + x.clamp(max=0.5) + torch.clamp_min(h, 0.0),
    "clamp between rows": lambda x, h, w, v: torch.clamp(x, -h.abs(), h.abs()),
    "hardsigmoid": lambda x, h, w, v: F.hardsigmoid(x * 3) * h,
    "hardswish": lambda x, h, w, v: F.hardswish(x * 3) + h,
    "gelu": lambda x, h, w, v: F.gelu(x) + F.gelu(h, approximate="tanh"),
    "silu": lambda x, h, w, v: F.silu(x) + h,
    "mish": lambda x, h, w, v: F.mish(x) + h,
    "softplus": lambda x, h, w, v: F.softplus(x) + F.softplus(h, beta=2.0, threshold=1.0),
    "logsigmoid": lambda x, h, w, v: F.logsigmoid(x) + h,
    "relu6": lambda x, h, w, v: F.relu6(x * 5) + h,
    "leaky_relu": lambda x, h, w, v: F.leaky_relu(x, 0.2) + h,
    "prelu": lambda x, h, w, v: F.prelu(x, v) + h,
    "threshold": lambda x, h, w, v: F.threshold(x, 0.5, -0.2) + h,
    "shrink": lambda x, h, w, v: F.softshrink(x, 0.5) + F.hardshrink(h, 0.5) + F.tanhshrink(x) + F.softsign(h),
    "glu": lambda x, h, w, v: F.glu(torch.cat([x, h], -1), -1),
    "sin": lambda x, h, w, v: torch.sin(x + h),
    "cos": lambda x, h, w, v: torch.cos(9 * x + h),
    "tan": lambda x, h, w, v: torch.tan(x) + h,
    "atan": lambda x, h, w, v: torch.atan(x + h),
    "asin": lambda x, h, w, v: torch.asin(x.tanh()) + torch.acos(h.tanh()),
    "atan2": lambda x, h, w, v: torch.atan2(x, h),
    "sinh": lambda x, h, w, v: torch.sinh(x) + torch.cosh(h),
    "expm1": lambda x, h, w, v: torch.expm1(x) + h,
    "log1p": lambda x, h, w, v: torch.log1p(x.abs()) + torch.log1p(1e-9 * h) * 1e9,
    "exp2": lambda x, h, w, v: torch.exp2(x) + h,
    "log2": lambda x, h, w, v: torch.log2(x.abs() + 0.1) + torch.log10(h.abs() + 0.1),
    "rsqrt": lambda x, h, w, v: torch.rsqrt(x.abs() + 0.1) + torch.reciprocal(h.abs() + 0.2),
    "sign": lambda x, h, w, v: torch.sign(x) * h + torch.sgn(h) * x,
    "round": lambda x, h, w, v: torch.floor(2 * x) + torch.ceil(2 * h) + torch.trunc(2 * x) + torch.round(x + h),
    "straight through": lambda x, h, w, v: x + (x.sign() - x).detach() + h.frac(),
    "powers": lambda x, h, w, v: x**2 + x**3 - x**4 + (h.abs() + 0.3) ** -2 + (x.abs() + 0.1) ** 1.5,
    "pow": lambda x, h, w, v: (x.abs() + 0.1) ** 0.3 + (h.abs() + 0.1) ** v + 2.0**x + x**6,
    "abs": lambda x, h, w, v: x.abs() + h,
    "minimum": lambda x, h, w, v: torch.minimum(x, h) + 2 * torch.max(x, h),
    "where": lambda x, h, w, v: torch.where(x > h, x, 0.1 * h) + x.masked_fill(h > 0.3, 0.0),
    "lerp": lambda x, h, w, v: torch.lerp(x, h, 0.3) + torch.lerp(x, h, v.sigmoid()) + torch.lerp(h, x, x.sigmoid()),
    "addcmul": lambda x, h, w, v: torch.addcmul(x, h, v, value=0.5) + torch.addcdiv(x, h, x.abs() + 1, value=0.5),
    "hypot": lambda x, h, w, v: torch.hypot(x, h) + torch.logaddexp(x, h),
}
ROWS: Table = {
    "normalize": lambda x, h, w, v: F.normalize(x + h, dim=-1),
    "norm": lambda x, h, w, v: x / (0.1 + x.norm(dim=-1, keepdim=True)) + h,
    "vector_norm": lambda x, h, w, v: x / (1 + torch.linalg.vector_norm(x, dim=-1)[:, None]) + h,
    "other norms": lambda x, h, w, v: x.norm(p=1, dim=-1, keepdim=True) + h / (1 + h.norm(p=3, dim=-1, keepdim=True)),
    "largest norm": lambda x, h, w, v: x / (1 + x.norm(p=math.inf, dim=-1, keepdim=True)) + h,
    "cosine": lambda x, h, w, v: F.cosine_similarity(x, h, dim=-1)[:, None] * x + h,
    "layer_norm": lambda x, h, w, v: F.layer_norm(x, (H,), v) + F.rms_norm(h, (H,), v),
    "group_norm": lambda x, h, w, v: F.group_norm(x, 2, v, v) + h,
    "amax": lambda x, h, w, v: x - x.amax(-1, keepdim=True) + h * h.amin(-1, keepdim=True),
    "max": lambda x, h, w, v: x - x.max(-1, keepdim=True).values + h * h.min(dim=-1)[0].unsqueeze(-1),
    "argmax": lambda x, h, w, v: x * x.argmax(-1, keepdim=True) + h,
    "softmax": lambda x, h, w, v: x.softmax(-1) * h + F.softmin(h, -1),
    "log_softmax": lambda x, h, w, v: x.log_softmax(-1) + h - h.logsumexp(-1, keepdim=True),
    "var": lambda x, h, w, v: x / (1 + x.var(-1, keepdim=True)) + h / (1 + h.var(-1, correction=0, keepdim=True)),
    "std": lambda x, h, w, v: x * x.std(-1, keepdim=True) + h * torch.std_mean(h, -1, correction=0, keepdim=True)[0],
    "mean": lambda x, h, w, v: x - x.mean(-1, keepdim=True) + h * h.mean(-1)[:, None],
    "sum": lambda x, h, w, v: x - x.sum(-1, keepdim=True) + h * (x > 0).sum(-1, keepdim=True),
    "dot": lambda x, h, w, v: (x * h).sum(-1, keepdim=True) * x + torch.linalg.vecdot(x, h)[:, None],
    "cumsum": lambda x, h, w, v: x.cumsum(-1) + h.softmax(-1).cumsum(-1),
    "any": lambda x, h, w, v: torch.where((x > 0.5).any(-1, keepdim=True), x, h) * (h > -2).all(-1, keepdim=True),
}
SHAPES: Table = {
    "roll": lambda x, h, w, v: x + h.roll(1, -1) - x.roll(-2, -1),
    "flip": lambda x, h, w, v: x + h.flip(-1),
    "circular convolution": lambda x, h, w, v: x + sum(v[i] * h.roll(i - 1, -1) for i in range(3)),
    "einsum": lambda x, h, w, v: torch.einsum("bi,ij->bj", x, w) + torch.einsum("bi,oi->bo", h, w),
    "einsum of a row": lambda x, h, w, v: x + h * torch.einsum("bi,i->b", h, v)[:, None],
    "einsum of rows": lambda x, h, w, v: x + h * torch.einsum("bi,bi->b", h, x)[:, None],
    "linear": lambda x, h, w, v: F.linear(x, w, v) + h @ w.T + torch.addmm(x, h, w.mT, beta=0.5, alpha=0.3),
    "x @ v": lambda x, h, w, v: x + (h @ v)[:, None],
    "w @ h": lambda x, h, w, v: (w @ x.T).T + (w @ h.unsqueeze(-1)).squeeze(-1) + torch.func.vmap(lambda a: w @ a)(h),
    "bmm": lambda x, h, w, v: x + torch.bmm(h[:, None], w.expand(len(h), H, H))[:, 0],
    "parts of a matrix": lambda x, h, w, v: torch.cat([h[:, :3] @ w[:3, :3], x[:, 3:] @ w[3:, 3:]], -1) + h @ w.triu(1),
    "heads": lambda x, h, w, v: x + (heads(h).softmax(-1) * x.unflatten(-1, (2, 3))).flatten(1),
    "over heads": lambda x, h, w, v: x + heads(h).softmax(1).flatten(1),
    "normed heads": lambda x, h, w, v: x + F.normalize(h.view(len(h), 2, 3), dim=-1).flatten(1),
    "layer-normed heads": lambda x, h, w, v: F.layer_norm((x + h).view(-1, 2, 3), (3,), v[:3]).view(-1, H),
    "weighted heads": lambda x, h, w, v: x + (heads(h) * v.view(2, 3) + v.view(2, 3)[:, :1]).reshape(-1, H),
    "heads times matrices": lambda x, h, w, v: x + own_matrices(heads(h), w[:3].view(2, 3, 3)),
    "heads change places": lambda x, h, w, v: x + heads(h).transpose(1, 2).reshape(-1, H),
    "one head": lambda x, h, w, v: x + heads(h)[:, 1].repeat(1, 2),
    "maxout": lambda x, h, w, v: x + torch.cat([h.view(-1, 3, 2).amax(-1)] * 2, -1),
    "pairs": lambda x, h, w, v: x + torch.stack([-h.view(-1, 3, 2)[..., 1], h.view(-1, 3, 2)[..., 0]], -1).flatten(1),
    "outer product": lambda x, h, w, v: x + (h[:, :2, None] * x[:, None, :3]).flatten(1) + h.sum(-1, keepdim=True),
    "attention": lambda x, h, w, v: x + attention(heads(x), heads(h)).flatten(1),
    "stack": lambda x, h, w, v: torch.stack([x, h], -1).sum(-1) + torch.stack([x, h], 1).amax(1),
    "cat": lambda x, h, w, v: torch.cat([x[:, :2], h[:, 2:]], -1) * torch.hstack([h[..., 3:], h[..., :3]]),
    "split": lambda x, h, w, v: torch.cat(x.split([1, 5], -1)[::-1], -1) + torch.cat(h.chunk(2, -1)[::-1], -1),
    "unbind": lambda x, h, w, v: x + torch.stack(h.unbind(-1)[::-1], -1),
    "places": lambda x, h, w, v: x * h[:, 2:3] + h.narrow(-1, 1, 1) - h[:, 3, None] + h.select(-1, -1)[:, None],
    "every second": lambda x, h, w, v: x + torch.cat([h[:, ::2], h[:, 1::2]], -1),
    "repeat": lambda x, h, w, v: x + h[:, :3].repeat(1, 2) - h[:, 1:4].repeat_interleave(2, -1),
    "expand": lambda x, h, w, v: x + h[:, :1].expand(-1, H) - h.unsqueeze(1).squeeze(1),
    "pad": lambda x, h, w, v: x + F.pad(h[:, 1:], (0, 1)) - F.pad(h.diff(dim=-1), (1, 0)),
    "one number along lanes": lambda x, h, w, v: h + (x[:, :2, None].expand(-1, 2, H) * torch.ones(H)).sum(1),
    "sums along two axes": lambda x, h, w, v: x + (h.view(-1, 2, 1, 3) * x.view(-1, 1, 2, 3)).sum((1, 2)).repeat(1, 2),
    "largest along rows": lambda x, h, w, v: (
        x + (h[:, :, None] * x[:, None, :]).amax(1) + h.view(-1, 2, 3).sum((1, 2))[:, None]
    ),
    "rotation": lambda x, h, w, v: torch.cat([h[:, :3] * v[:3].cos() - x[:, 3:] * v[:3].sin(), h[:, 3:]], -1),
}
WORDS: Table = {**POINTWISE, **ROWS, **SHAPES}


def step_of(word: Word) -> Callable[..., Any]:
    def step(d: Tensor, s: tuple[Tensor], w: Tensor, v: Tensor) -> Any:
        new = word(d, s[0], w, v)
        return new, (new,)

    return step


@pytest.mark.parametrize("name", WORDS)
def test_every_word_is_lowered(name: str) -> None:
    torch.manual_seed(0)
    x, h, w, v = (torch.randn(shape, dtype=torch.float64) for shape in ((B, H), (B, H), (H, H), (H,)))
    lowered(step_of(WORDS[name]), x, (h,), [w, v])


@pytest.mark.parametrize("name", [name for name in WORDS if name not in ("atan2", "hypot", "tan")])
def test_kinks_and_ties_follow_torch(name: str) -> None:
    """Numbers of a few values, so that limits are met exactly and the largest is there twice."""
    torch.manual_seed(0)
    x, h = (torch.randint(-2, 3, (B, H)).double() / 2 for _ in range(2))
    w, v = torch.randn(H, H, dtype=torch.float64), torch.rand(H, dtype=torch.float64) + 0.5
    lowered(step_of(WORDS[name]), x, (h,), [w, v])


@pytest.mark.parametrize("name", WORDS)
def test_every_word_is_emitted(name: str) -> None:
    """As plain Python, where memory that is read before it is written holds NaN. Oracle: the walk, by `compare`."""
    torch.manual_seed(0)
    x, h, w, v = (torch.randn(shape, dtype=torch.float64) for shape in ((2, 2, H), (2, H), (H, H), (H,)))
    compare(step_of(WORDS[name]), x, (h,), [w, v], Plain(4))


def compared(words: Table, dtype: torch.dtype, last: Callable[[Tensor], Tensor] = torch.tanh) -> None:
    """A kernel of many words, each in a leaf of the state of its own, in everything that it gives."""
    torch.manual_seed(0)

    def update(d: Tensor, s: tuple[Tensor, ...], w: Tensor, v: Tensor) -> Any:
        new = tuple(last(word(d, h, w, v)) for word, h in zip(words.values(), s, strict=True))
        return new[0], new

    recurrence = Recurrence("words", lambda gates, state: gates, update)
    wide = [torch.randn(3, 4, H), *(torch.randn(3, H) for _ in words), torch.randn(H, H) / 2, torch.rand(H) + 0.2]
    results = []
    for backend_name, kind in (("numba", dtype), ("reference", torch.float64)):
        given = [t.to(dtype).to(kind).requires_grad_() for t in wide]
        x, *state, w, v = given
        with backend(backend_name):
            out, after = recurrence.scan(x, tuple(state), w, v)
        ends = [out, *after]
        slopes = [torch.linspace(1, 2, t.numel(), dtype=kind).view_as(t) for t in ends]
        results.append(([t.detach() for t in ends], torch.autograd.grad(ends, given, slopes, materialize_grads=True)))
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    names = [["out", *words], ["x", *words, "w", "v"]]
    for mine, theirs, labels in zip(*results, names, strict=True):
        for g, want, name in zip(mine, theirs, labels, strict=True):
            gap = (g.double() - want).abs().max() / want.abs().max().clamp(min=1)
            assert gap <= tolerance, f"{name} differs by {gap:.1e}"


COMPILED: dict[str, tuple[str, ...]] = {
    "pointwise": ("elu", "sin", "cos", "atan", "pow", "round", "log1p"),
    "rows": ("normalize", "max", "group_norm", "cumsum"),
    "shapes": ("roll", "einsum", "w @ h", "normed heads", "heads times matrices", "attention", "pairs"),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("theme", COMPILED)
def test_words_are_compiled(theme: str, dtype: torch.dtype) -> None:
    compared({name: WORDS[name] for name in COMPILED[theme]}, dtype)


def test_rows_of_one_number_are_compiled() -> None:
    """They are computed in plain Python's words."""

    def single(word: Word) -> Word:
        return lambda x, h, w, v: word(x[:, :1], h[:, :1], w, v[:1]) * h

    compared({name: single(WORDS[name]) for name in ("elu", "sin", "cos", "atan", "pow", "round")}, torch.float64)


def test_products_that_are_parts_of_a_state_do_not_write_beside_them() -> None:
    """Each fills less than a vector, before the rest of the state and of the other states is read."""
    parts: Word = lambda x, h, w, v: torch.cat([h[:, :3] @ w[:3, :3], h[:, 3:5] @ w[3:5, 3:5], x[:, 5:]], -1)  # noqa: E731
    turned: Word = lambda x, h, w, v: x + h.roll(1, -1)  # noqa: E731
    compared({"parts": parts, "turned": turned}, torch.float64, lambda new: new)
